"""The process that computes jobs: reads one job a line, answers with progress and an end, and keeps its models loaded.

It speaks JSON lines over its standard input and output; whatever a library prints goes to its standard error. When the
server is gone its input ends, and so does it.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import re
import shutil
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TextIO

from vesal.engine.memory import memory_of
from vesal.errors import DataError, UsageError, VesalError, out_of_memory
from vesal.parallel import available_memory
from vesal.serve.jobs.job import TEMPORARY, JobOptions

#: Seconds between two lines of progress.
_EVERY_S = 0.25
#: Memory that must be free, in files of the model, before one is loaded beside others.
_ROOM = 4

Answer = Callable[[dict[str, Any]], None]


class LoadedModels:
    """The models that were used last, as many as the memory holds.

    Args:
        device, backend: as of `vesal predict`.
        most_bytes: of this process, above which its job is ended; None for no limit.
    """

    def __init__(self, device: str, backend: str, most_bytes: int | None = None) -> None:
        self._device, self._backend, self._most_bytes = device, backend, most_bytes
        self._models: OrderedDict[Path, Any] = OrderedDict()

    def get(self, path: Path) -> Any:
        """A model; loaded where it is not, after others were let go where the memory is short.

        Raises:
            VesalError: it cannot be used.
        """
        from vesal.infer.predictor import load_model

        if path not in self._models:
            while self._models and self._room() < _ROOM * _size(path):
                self._models.popitem(last=False)
                gc.collect()
            self._models[path] = load_model(path, device=self._device, backend=self._backend)
        self._models.move_to_end(path)
        return self._models[path]

    def _room(self) -> int:
        """Bytes that a model and its work may take."""
        free = available_memory()
        return free if self._most_bytes is None else min(free, self._most_bytes - memory_of(os.getpid()))

    def forget_all(self) -> None:
        """None is loaded any more."""
        self._models.clear()
        gc.collect()


def _size(path: Path) -> int:
    files = path.rglob("*.vesal") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files)


def compute(order: dict[str, Any], models: LoadedModels, answer: Answer) -> None:
    """Do one job and answer with `done` or `failed`; no failure of it gets out.

    Args:
        order: what `vesal.serve.jobs.supervisor.JobOrder` says of a job.
        models: that are loaded.
        answer: takes what is to be sent.
    """
    from vesal.serve.jobs.predict_job import Work, predict_job

    id_, last = order["id"], 0.0

    def progress(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _EVERY_S or done == total:
            last = now
            answer({"id": id_, "progress": done / max(1, total), "stage": "Segmenting"})

    try:
        answer({"id": id_, "progress": 0.0, "stage": "Loading the model"})
        model = models.get(Path(order["model"]))
        answer({"id": id_, "progress": 0.0, "stage": "Reading the scan"})
        work = Work(
            inputs=tuple(map(Path, order["inputs"])),
            folder=Path(order["folder"]),
            options=JobOptions.model_validate(order["options"]),
            root=Path(order["root"]),
            room_bytes=order["room_bytes"],
        )
        with _temporary_files_in(work.root / TEMPORARY):
            outcome = predict_job(model, work, progress)
        notes = tuple(_without_paths(note, order) for note in outcome.notes)
        answer({"id": id_, "done": outcome.model_copy(update={"notes": notes}).to_dict()})
    except VesalError as error:
        refused = isinstance(error, DataError | UsageError)
        answer({"id": id_, "failed": _without_paths(str(error), order), "refused": refused})
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            _unexpected(answer, id_, error)
            return
        models.forget_all()
        answer(
            {"id": id_, "failed": "The server's memory does not suffice for this scan; send a smaller one."}
        )
    except Exception as error:
        _unexpected(answer, id_, error)


@contextlib.contextmanager
def _temporary_files_in(folder: Path) -> Iterator[None]:
    """Nothing of a patient is left in the system's folder by a process that is killed."""
    folder.mkdir(mode=0o700, exist_ok=True)
    before, tempfile.tempdir = tempfile.tempdir, str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = before
        shutil.rmtree(folder, ignore_errors=True)


def _unexpected(answer: Answer, id_: str, error: Exception) -> None:
    # Not in the answer: it may name files of the server.
    traceback.print_exc()
    answer(
        {
            "id": id_,
            "failed": f"The server met an error of its own ({type(error).__name__}); its worker.log has more.",
        }
    )


def _without_paths(sentence: str, order: dict[str, Any]) -> str:
    """The sentence without the server's folders."""
    # An archive lies unpacked in a folder that chance names.
    unpacked = re.escape(f"{order['root']}{os.sep}{TEMPORARY}{os.sep}")
    sentence = re.sub(rf"{unpacked}[\w-]+[/\\]", "", sentence)
    root = order["root"]
    for folder in (order["folder"], f"{root}{os.sep}upload{os.sep}study", f"{root}{os.sep}upload", root):
        sentence = sentence.replace(f"{folder}{os.sep}", "").replace(str(folder), "the upload")
    model = Path(order["model"])
    if model.is_absolute():
        sentence = sentence.replace(f"{model.parent}{os.sep}", "")
    return sentence.replace("the upload", "The upload", 1) if sentence.startswith("the upload") else sentence


def _tell_kind(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """A warning without its words: those of libraries quote names of patients."""
    print(f"{category.__name__} at {filename}:{lineno}", file=sys.stderr, flush=True)


def _orders(stream: TextIO) -> SimpleQueue[dict[str, Any]]:
    """What the server sends, read by a thread; when it is gone this process ends, whatever it is doing."""
    queue: SimpleQueue[dict[str, Any]] = SimpleQueue()

    def read() -> None:
        for line in stream:
            queue.put(json.loads(line))
        os._exit(0)

    threading.Thread(target=read, name="orders", daemon=True).start()
    return queue


def main(device: str, backend: str, most_bytes: int) -> None:
    """Work until the server is gone."""
    from vesal.cpus import bound_spinning

    bound_spinning()
    warnings.showwarning = _tell_kind
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def answer(message: dict[str, Any]) -> None:
        print(json.dumps(message), file=out, flush=True)

    orders = _orders(sys.stdin)
    models = LoadedModels(device, backend, most_bytes)
    # Before the first job: torch takes seconds to import, and a supervisor that waits sees that all is well.
    import vesal.serve.jobs.predict_job

    answer({"ready": vesal.serve.jobs.predict_job.__name__})
    while True:
        compute(orders.get(), models, answer)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
