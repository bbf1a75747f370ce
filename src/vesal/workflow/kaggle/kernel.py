"""A training for Kaggle: a folder that `kaggle kernels push` takes."""

from __future__ import annotations

import base64
import io
import lzma
import pprint
import re
import shlex
import tarfile
from dataclasses import replace
from importlib import metadata, resources
from pathlib import Path
from typing import Any

from vesal.download.catalogue import ARCHIVES
from vesal.errors import UsageError, unknown_name
from vesal.files import write_json, write_text
from vesal.outputs import results
from vesal.record import Record
from vesal.run.folder import Run
from vesal.train.recipe import LENGTHS, load_recipe, parse_duration, parse_overrides
from vesal.workflow.requests.kernel_options import KernelOptions

SCRIPT = "vesal_train.py"
METADATA = "kernel-metadata.json"

#: Kaggle ends a session with a GPU after 12 hours; reading the data, scores and the report need their share.
LONGEST_S = 11 * 3600.0

#: What is tried first, and away from the platform.
SHORT_S = 60.0

#: Kaggle keeps the source of a kernel up to about a megabyte.
_MOST_SOURCE = 900_000
_CARRIED = {".py", ".yaml", ".txt", ".html", ".css", ".json", ".j2", ".typed"}
#: Folders of Vesal that are of no use there: nobody reaches a server.
UNUSED = tuple(Path("serve") / name for name in ("http", "jobs", "pacs", "viewer_files"))
_MOST_FILE = 200_000

_NAME = r"[A-Za-z0-9][A-Za-z0-9_-]*"


class Exported(Record):
    """The files of a kernel, its id, and the commands that send it, ask how it goes and fetch its results."""

    files: tuple[Path, ...]
    id: str
    commands: dict[str, str]

    def text(self) -> str:
        """The files, and what to do with them."""
        titles = {"push": "Send it and run it:", "status": "Ask how it goes:", "output": "Fetch the results:"}
        return "\n".join(
            [*(f"Wrote {path}" for path in self.files)]
            + [f"{titles[name]:20} {command}" for name, command in self.commands.items()]
        )


def export(folder: Path, options: KernelOptions, run: Path | None = None) -> Exported:
    """Write a kernel.

    Args:
        folder: that is written.
        options: what shall run there.
        run: a run folder whose settings are trained with, in place of a recipe.

    Raises:
        UsageError: it cannot be made of what was asked for.
    """
    if run is not None:
        config = Run(run).config_file
        if not config.exists():
            raise UsageError(
                f"{run} is not a run folder (no config.yaml); name one that vesal train wrote, or --recipe."
            )
        if options.recipe != "auto":
            raise UsageError("A run folder and --recipe both say what to train; give one of them.")
        options = replace(options, recipe=str(config))
    return export_kernel(folder, options)


def export_kernel(folder: Path, options: KernelOptions) -> Exported:
    """Write kernel-metadata.json and the script into `folder`.

    The fields are those of Kaggle's documentation (Kaggle/kaggle-cli, docs/kernels_metadata.md).

    Raises:
        UsageError: no user, no data, an impossible name, recipe or length; or a file would be replaced that Vesal
            did not write there, or that was changed since.
    """
    overrides = {"fold": options.fold} | parse_overrides(options.settings)
    if options.fold not in (KernelOptions.fold, overrides["fold"]):
        raise UsageError(
            f"fold is given by an option ({options.fold}) and by --set ({overrides['fold']}); leave one out."
        )
    # Apart, for there is a short one, too.
    length = {name: overrides.pop(name) for name in LENGTHS if name in overrides}
    length |= {} if options.budget is None else {"budget_s": parse_duration(options.budget)}
    config = load_recipe(options.recipe, overrides | length)
    if (file := config.initial_weights) is not None and not file.startswith("/kaggle/"):
        raise UsageError(
            f"The training begins with {file}, which Kaggle does not have; attach it as a data set, and add "
            "--set initial_weights=/kaggle/input/ with its place there."
        )
    if config.budget_s is not None and config.budget_s > LONGEST_S:
        raise UsageError(
            f"Kaggle ends a session after 12 hours; add --budget {LONGEST_S / 3600:g}h at most, and go on with "
            "--continue-from."
        )
    if options.user is None or not re.fullmatch(_NAME, options.user):
        raise UsageError("A kernel needs an owner; add --user with your name on Kaggle.")
    title = options.title or f"Vesal {config.recipe}"
    identity = f"{options.user}/{slug(title)}"
    _check_sources(options)
    output = results(folder, SCRIPT, METADATA)
    recipe = Path(options.recipe) if options.recipe.endswith((".yaml", ".yml")) else None
    settings = {
        "recipe": recipe.name if recipe else options.recipe,
        "recipe_yaml": recipe.read_text(encoding="utf-8")
        if recipe
        else None,  # the platform does not have it
        "overrides": overrides,
        "length": length,
        "short_length": {"budget_s": SHORT_S},
        "short": options.short,
        "data": options.data,
        "fetch": options.fetch,
        "install": options.install,
        "requirements": _requirements(config.network, options.install),
    }
    script, described = folder / SCRIPT, folder / METADATA
    with output:
        write_text(script, _script(title, settings))
        write_json(described, _metadata(identity, title, options))
    commands = {
        "push": f"kaggle kernels push -p {shlex.quote(str(folder))}",
        "status": f"kaggle kernels status {identity}",
        "output": f"kaggle kernels output {identity} -p {shlex.quote(str(folder / 'output'))}",
    }
    return Exported(files=(described, script), id=identity, commands=commands)


def slug(title: str) -> str:
    """The name in the address that Kaggle makes of a title.

    >>> slug("Vesal heart-monai, 30 min")
    'vesal-heart-monai-30-min'

    Raises:
        UsageError: Kaggle takes titles of 5 to 50 characters.
    """
    made = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
    if not 5 <= len(title) <= 50 or len(made) < 5:
        raise UsageError(
            f"The title '{title}' does not do: Kaggle takes 5 to 50 characters, Latin letters and digits among them."
        )
    return made


def _check_sources(options: KernelOptions) -> None:
    for option, names in (("--dataset", options.datasets), ("--continue-from", [options.earlier or "a/b"])):
        for name in names:
            if not re.fullmatch(f"{_NAME}/{_NAME}", name):
                raise UsageError(f"{option} takes OWNER/NAME as in the address on Kaggle, not '{name}'.")
    for name in options.competitions:
        if not re.fullmatch(_NAME, name):
            raise UsageError(f"--competition takes its NAME as in the address on Kaggle, not '{name}'.")
    if options.fetch is not None and options.fetch not in ARCHIVES:
        raise unknown_name("data set to download", options.fetch, ARCHIVES)
    if not (options.datasets or options.competitions or options.fetch):
        raise UsageError(
            "There is nothing to train on; add --dataset OWNER/NAME, --competition NAME or --fetch msd-heart."
        )
    if not re.fullmatch(r"[A-Za-z0-9]+", options.accelerator):
        raise UsageError(
            f"--accelerator takes Kaggle's name such as NvidiaTeslaT4, or none, not '{options.accelerator}'."
        )


def _metadata(identity: str, title: str, options: KernelOptions) -> dict[str, Any]:
    gpu = options.accelerator.lower() != "none"
    return {
        "id": identity,
        "title": title,
        "code_file": SCRIPT,
        "language": "python",
        "kernel_type": "script",
        "is_private": not options.public,
        "enable_gpu": gpu,
        "enable_internet": True,
        "dataset_sources": list(options.datasets),
        "competition_sources": list(options.competitions),
        "kernel_sources": [] if options.earlier is None else [options.earlier],
        "model_sources": [],
        # Without it Kaggle may give a P100, for which its own torch has no code (Kaggle/kaggle-cli issue 1151).
        **({"machine_shape": options.accelerator} if gpu else {}),
    }


def _script(title: str, settings: dict[str, Any]) -> str:
    template = resources.files("vesal") / "workflow" / "kaggle" / "kaggle_train.py.txt"
    parts = {
        "TITLE": re.sub(r'["\\]', "", title),
        "SCRIPT": SCRIPT,
        "SETTINGS": pprint.pformat(settings, width=100, sort_dicts=False),
        "VESAL": "" if settings["install"] else _packed(),
    }
    text = re.sub(
        "@(TITLE|SCRIPT|SETTINGS|VESAL)@", lambda match: parts[match[1]], template.read_text("utf-8")
    )
    if len(text) > _MOST_SOURCE:
        raise UsageError(
            f"The script would have {len(text) / 1e6:.1f} MB, more than Kaggle takes; "
            "let pip install Vesal there: add --install with a version or a URL."
        )
    return text


def _packed() -> str:
    """This Vesal's own source: tar, xz, base85, the same bytes for the same files."""
    root = Path(str(resources.files("vesal")))
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path in sorted(root.rglob("*")):
            relative = path.relative_to(root)
            hidden = any(part.startswith((".", "__pycache__")) for part in relative.parts)
            unused = any(folder in relative.parents for folder in UNUSED)
            if hidden or unused or path.suffix not in _CARRIED or not path.is_file():
                continue
            data = path.read_bytes()
            if len(data) <= _MOST_FILE:
                info = tarfile.TarInfo(str(Path("vesal") / relative))
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    text = base64.b85encode(lzma.compress(buffer.getvalue(), preset=9)).decode("ascii")
    return "\n".join(text[at : at + 110] for at in range(0, len(text), 110))


def _requirements(network: str, install: str | None) -> list[str]:
    """What pip installs there beside Vesal, or for the Vesal that the script carries."""
    try:
        declared = metadata.requires("vesal") or []
    except metadata.PackageNotFoundError as error:
        raise UsageError(
            "This Vesal is not installed, so it is not known what it needs; add --install with a version or a URL."
        ) from error
    plain = [text for text in declared if "extra ==" not in text]
    monai = [text.split(";")[0].strip() for text in declared if re.match(r"monai\b", text)]
    extra = monai[:1] or ["monai"] if network.startswith("monai") else []
    return ([] if install else plain) + extra
