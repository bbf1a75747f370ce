"""Search for files that a reader does not stand, guided by the code that they reach (atheris, Python 3.11 to 3.13).

    python tests/fuzz/run_fuzz.py TARGET... [--runs 200000] [--work FOLDER] [--seconds S]

Every input that makes the reader raise anything but a refusal, take more than two seconds or 2 GB of memory is written
into FOLDER/TARGET-found, once for each place in the code; the search goes on. `pip install atheris` first. What is
repaired goes from there into tests/fuzz/found/TARGET. The next search begins with FOLDER/TARGET-corpus as it is left.
Several targets (or `all`) are searched one after the other, each in a process of its own.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import resource
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
#: Folders of tests with what the targets share with them.
SHARED = ("volume/dicom", "volume/dicom/annotations", "nn/monai_bundle", "nn/nnunet")
#: Of a processor.
SLOW_S = 2.0
MEMORY = 2 << 30


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("targets", nargs="+")
    parser.add_argument("--runs", type=int, default=200_000)
    parser.add_argument("--seconds", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path("fuzzing"))
    chosen = parser.parse_args()

    import atheris

    for folder in (HERE, *(HERE.parent / name for name in SHARED)):
        sys.path.insert(0, str(folder))
    with atheris.instrument_imports(include=["vesal", "python_multipart"], enable_loader_override=False):
        from fuzz_targets import TARGETS

        import vesal.errors  # noqa: F401
    warnings.simplefilter("ignore")
    names = list(TARGETS) if chosen.targets == ["all"] else chosen.targets
    for name in names:
        if len(names) > 1 and (child := os.fork()):
            # Loading and instrumenting is done once for all of them.
            print(f"{name}: ended with {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}", flush=True)
            continue
        print(f"{name}:", flush=True)
        search(name, TARGETS[name], chosen)
        return


def search(name: str, target: Any, chosen: argparse.Namespace) -> None:
    """Search one target; libFuzzer ends the process."""
    import atheris

    from vesal.errors import VesalError

    found, corpus = (chosen.work / f"{name}-{kind}" for kind in ("found", "corpus"))
    for folder in (found, corpus):
        folder.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    seeds = target.seeds(folder)
    for number, seed in enumerate(seeds):
        (corpus / f"seed-{number}").write_bytes(seed)
    path = folder / target.file
    known: set[str] = set()

    def note(data: bytes, place: str, text: str) -> None:
        if place in known:
            return
        known.add(place)
        stem = hashlib.sha256(data).hexdigest()[:12]
        (found / stem).write_bytes(data)
        (found / f"{stem}.txt").write_text(text)
        print(f"FOUND {stem}: {text.strip().splitlines()[-1]}", flush=True)

    def once(data: bytes) -> None:
        path.write_bytes(data)
        began = time.process_time()
        try:
            target.read(path)
        except VesalError:
            pass
        except Exception as error:
            trace = traceback.extract_tb(error.__traceback__)
            ours = [f"{frame.filename}:{frame.lineno}" for frame in trace if "vesal" in frame.filename]
            note(data, f"{type(error).__name__} {ours[-1:]}", traceback.format_exc())
        if (took := time.process_time() - began) > SLOW_S:
            note(data, "slow", f"{took:.1f} s")

    # After everything is loaded: what a reader takes beside it.
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY, held + MEMORY))
    arguments = [
        sys.argv[0],
        str(corpus),
        f"-runs={chosen.runs}",
        "-rss_limit_mb=0",
        "-timeout=60",
        f"-max_len={max(4096, 2 * max(map(len, seeds)))}",
        "-print_final_stats=1",
    ]
    if chosen.seconds:
        arguments.append(f"-max_total_time={chosen.seconds}")
    atheris.Setup(arguments, once)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
