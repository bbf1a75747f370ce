"""Write what another platform takes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vesal.errors import UsageError, unknown_name
from vesal.workflow.kaggle.kernel import Exported
from vesal.workflow.kaggle.kernel import export as export_kernel
from vesal.workflow.model_exchange.export_nnunet import NnunetExport, export_nnunet
from vesal.workflow.requests.fields import given_flags
from vesal.workflow.requests.kernel_options import KernelOptions
from vesal.workflow.requests.slurm_options import SlurmOptions
from vesal.workflow.slurm.job_scripts import SlurmExport, export_jobs

if TYPE_CHECKING:
    from vesal.workflow.deployment.model_export import ModelExport
    from vesal.workflow.deployment.web_export import WebExport

#: What `vesal export --to` takes: models without torch, a page, and what runs elsewhere.
MODELS = ("onnx", "openvino")
TARGETS = (*MODELS, "web", "kaggle", "nnunet", "slurm")


def export(
    target: str,
    folder: Path,
    source: Path | None,
    kernel: KernelOptions,
    slurm: SlurmOptions,
    *,
    precision: str = "float32",
) -> Exported | NnunetExport | SlurmExport | ModelExport | WebExport:
    """Export for that target.

    Args:
        target: one of TARGETS.
        folder: that is written; of a model the file.
        source: for Kaggle a run folder whose settings are trained with, in place of a recipe; else the model.
        kernel: what Kaggle shall train.
        slurm: what SLURM shall predict.
        precision: of a model without torch, as of `vesal.workflow.deployment.model_export`.

    Raises:
        UsageError: there is no such target, or it cannot be made of what was asked for.
    """
    if target not in TARGETS:
        raise unknown_name("target", target, TARGETS)
    if precision != "float32" and target not in MODELS:
        raise UsageError(f"--precision is for --to {' or '.join(MODELS)}, not {target}; leave it out.")
    for options, own in ((kernel, "kaggle"), (slurm, "slurm")):
        if target != own and (idle := given_flags(options)):
            raise UsageError(f"{idle[0]} is for --to {own}, not {target}; leave it out.")
    if target == "kaggle":
        return export_kernel(folder, kernel, source)
    if target == "nnunet":
        if source is None:
            raise UsageError("nnU-Net's folder is made of a model; name a .vesal file or a run folder.")
        return export_nnunet(source, folder)
    if source is None:
        what = "SLURM's jobs need a model" if target == "slurm" else "There is no model to export"
        raise UsageError(f"{what}; name a .vesal file or a run folder.")
    if target in MODELS:
        from vesal.workflow.deployment.model_export import export_model  # torch

        return export_model(target, source, folder, precision)
    if target == "web":
        from vesal.workflow.deployment.web_export import export_web  # torch

        return export_web(source, folder)
    return export_jobs(source, folder, slurm)
