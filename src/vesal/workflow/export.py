"""Export: what was trained, or what shall be, in a form that others take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from vesal.errors import UsageError, unknown_name
from vesal.run.folder import Run
from vesal.workflow.kaggle.kernel import Exported, KernelOptions, export_kernel


@dataclass(frozen=True)
class ExportRequest:
    """What `vesal export` was asked for.

    Attributes:
        out: the folder or file to write.
        source: what is exported; for Kaggle a run whose settings are trained with, or None.
        kernel: what shall run on Kaggle.
    """

    out: Path
    source: Path | None = None
    kernel: KernelOptions = field(default_factory=KernelOptions)


def export(target: str, request: ExportRequest) -> Exported:
    """Export for that target.

    Raises:
        UsageError: there is no such target, or it cannot be made of what was asked for.
    """
    if target not in TARGETS:
        raise unknown_name("target", target, TARGETS)
    return TARGETS[target](request)


def _kaggle(request: ExportRequest) -> Exported:
    options = request.kernel
    if request.source is not None:
        config = Run(request.source).config_file
        if not config.exists():
            raise UsageError(
                f"{request.source} is not a run folder (no config.yaml); name one that vesal train wrote, or --recipe."
            )
        if options.recipe != "auto":
            raise UsageError("A run folder and --recipe both say what to train; give one of them.")
        options = replace(options, recipe=str(config))
    return export_kernel(request.out, options)


#: What `vesal export --to` takes.
TARGETS: dict[str, Callable[[ExportRequest], Exported]] = {"kaggle": _kaggle}
