"""A trained model of another program -> one model file, which predicts, serves and exports like any other.

nnU-Net v2's here, a cascade with both of its stages; MONAI bundles in `vesal.workflow.model_exchange.import_bundle`.

Nothing in the folder is run: `plans.json` and `dataset.json` are JSON, and checkpoints are read by a reader that knows
tensors and plain values alone (`vesal.nn.nnunet.safe_checkpoint`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from vesal.errors import UsageError, VesalError, unknown_name
from vesal.files import read_json
from vesal.nn.model_file import Package, save_package
from vesal.nn.nnunet.known_trainers import KNOWN_TRAINERS
from vesal.nn.nnunet.plans_reader import TheirModel
from vesal.nn.nnunet.safe_checkpoint import read_checkpoint, tensors_of
from vesal.nn.nnunet.weight_names import from_nnunet, heads_of, is_batch_norm
from vesal.outputs import results
from vesal.parallel import Progress
from vesal.planning.plan import Plan
from vesal.run_files import MODEL
from vesal.text import listed
from vesal.version import __version__
from vesal.workflow.model_exchange.import_bundle import import_bundle, is_bundle
from vesal.workflow.model_exchange.imported import Imported, licence_of
from vesal.workflow.requests.import_request import ImportRequest

#: Of nnU-Net's folders and files.
_PLANS, _DATASET, _FOLD, _CHECKPOINT = "plans.json", "dataset.json", "fold_", "checkpoint_{}.pth"
#: Which checkpoint is taken where none is asked for, the first that is there.
_CHECKPOINTS = ("final", "best")
#: What dataset.json calls a licence.
_LICENCE_KEYS = ("licence", "license")


def import_model(request: ImportRequest, progress: Progress | None = None) -> Imported:
    """Read a trained model of another program, and write it as a model file.

    Args:
        request: which, and where to.
        progress: called with (done, total) folds.

    Raises:
        UsageError: the folder holds no such model, or its licence is not known and not given.
        VesalError: a file is damaged or hostile, or the model does what Vesal does not, or may do so.
    """
    if request.out.is_dir():
        raise UsageError(f"{request.out} is a folder; name the file, such as {request.out / MODEL}.")
    if is_bundle(request.folder):
        return import_bundle(request)
    output = results(request.out.parent, request.out.name)
    folder = _model_folder(request)
    described = _licence(request, _json(folder / _DATASET), folder)
    stage = _read_stage(folder, request, progress)
    earlier = stage.earlier
    provenance = {
        "versions": {"vesal": __version__},
        "dataset": str(stage.model.plans.get("dataset_name", ""))[:200],
        "imported": {"from": "nnU-Net v2", **stage.source()},
        **described,
    }
    package = Package(
        stage.plan,
        stage.model.network,
        {},
        provenance,
        stage.weights[0],
        more_weights=tuple(stage.weights[1:]),
        locator_weights=None if earlier is None else earlier.weights[0],
        more_locator_weights=() if earlier is None else tuple(earlier.weights[1:]),
    )
    with output:
        save_package(output.folder / request.out.name, package)
    return Imported(request.out, package.network, package.plan, provenance)


@dataclass(frozen=True)
class _Stage:
    """A trained configuration: the whole model, or a stage of a cascade.

    Attributes:
        model: what nnU-Net's files say.
        plan: Vesal's.
        checkpoints: of the folds that vote.
        weights: of each, by Vesal's names.
        earlier: of the second stage of a cascade the first.
    """

    model: TheirModel
    plan: Plan
    checkpoints: list[_Checkpoint]
    weights: list[dict[str, Tensor]]
    earlier: _Stage | None = None

    def source(self) -> dict[str, Any]:
        """Where it is from, as JSON values."""
        files = [one.file for one in self.checkpoints]
        found = {
            "trainer": self.checkpoints[0].trainer,
            "plans": str(self.model.plans.get("plans_name", ""))[:200],
            "configuration": self.model.configuration,
            "folds": [file.parent.name for file in files],
            "checkpoint": files[0].name,
        }
        return found if self.earlier is None else found | {"previous_stage": self.earlier.source()}


def _read_stage(
    folder: Path, request: ImportRequest, progress: Progress | None, *, cascade: str | None = None
) -> _Stage:
    """Read the trained configuration of a folder, and of a second stage the first one beside it.

    Args:
        folder: TRAINER__PLANS__CONFIGURATION.
        request: says which folds and checkpoints.
        progress: called with (done, total) folds of the folder.
        cascade: name of the second stage, where this is to be its first.
    """
    plans, dataset = _json(folder / _PLANS), _json(folder / _DATASET)
    files = _folds(folder, request)
    checkpoints = []
    for number, file in enumerate(files, start=1):
        checkpoints.append(_Checkpoint.read(file))
        if not request.custom_trainer:
            _check_trainer(checkpoints[-1])
        if progress is not None:
            progress(number, len(files))
    first = checkpoints[0]
    for one in checkpoints:
        if one.configuration != first.configuration:
            raise VesalError(
                f"{first.file} is of {first.configuration[:80]} and {one.file} of {one.configuration[:80]}, which "
                "cannot vote together; name the folds of one by --fold."
            )
    model, earlier = TheirModel(plans, dataset, first.configuration), None
    if (previous := model.previous_stage) is not None:
        if cascade is not None:
            raise VesalError(
                f"{cascade} follows {model.configuration}, which follows {previous}; cascades of two stages are "
                "imported."
            )
        earlier = _first_stage(folder, model, first, replace(request, folds=()), progress)
    plan = model.plan(
        networks=len(files),
        mirror_axes=first.mirror_axes,
        heads=heads_of(first.weights),
        norm="batch" if is_batch_norm(first.weights) else "instance",
        first_stage=None if earlier is None else earlier.plan,
    )
    weights = [from_nnunet(one.weights, plan, model.network, str(one.file)) for one in checkpoints]
    return _Stage(model, plan, checkpoints, weights, earlier)


def _first_stage(
    folder: Path,
    model: TheirModel,
    checkpoint: _Checkpoint,
    request: ImportRequest,
    progress: Progress | None,
) -> _Stage:
    """The first stage of a cascade, from the folder beside that of the second, of the same trainer and plans.

    Raises:
        UsageError: it is not there.
        VesalError: it is another one, or its networks are of another kind.
    """
    previous = str(model.previous_stage)
    trained_by, follows, _ = folder.absolute().name.rpartition("__")
    if not follows:
        trained_by = f"{checkpoint.trainer}__{model.plans.get('plans_name', '')}"
    beside = folder.absolute().parent / f"{trained_by}__{previous}"
    if not (beside / _PLANS).is_file():
        raise UsageError(
            f"{folder} is the second stage of a cascade and needs its first, {previous}: there is no {beside} with "
            f"{_PLANS}; put it there, or import another configuration, such as 3d_fullres."
        )
    stage = _read_stage(beside, request, progress, cascade=model.configuration)
    if stage.model.configuration != previous:
        raise VesalError(
            f"{beside} holds {stage.model.configuration[:80]}, not {previous}; get it again from where it was trained."
        )
    if stage.model.network != model.network:
        raise VesalError(
            f"The stages of the cascade are networks of two kinds, {stage.model.network} ({previous}) and "
            f"{model.network} ({model.configuration}); a model file holds stages of one kind."
        )
    return stage


@dataclass(frozen=True)
class _Checkpoint:
    """A checkpoint of a fold.

    Attributes:
        weights: nnU-Net's state dict.
        trainer: name of the class that trained it; '' where nothing says it.
        configuration: name.
        mirror_axes: along which the network may see mirrored copies.
    """

    file: Path
    weights: Mapping[str, Tensor]
    trainer: str
    configuration: str
    mirror_axes: tuple[int, ...]

    @classmethod
    def read(cls, file: Path) -> _Checkpoint:
        held = read_checkpoint(file)
        if not isinstance(held, dict) or not isinstance(held.get("init_args"), dict):
            raise VesalError(
                f"{file} is no checkpoint of nnU-Net v2's; name the folder of a model that it trained."
            )
        weights = tensors_of(held.get("network_weights"), file)
        configuration = held["init_args"].get("configuration")
        axes = held.get("inference_allowed_mirroring_axes") or ()
        known = isinstance(axes, (list, tuple)) and all(type(axis) is int for axis in axes)
        plain = isinstance(configuration, str) and known
        if not weights or not plain:
            raise VesalError(
                f"{file} holds no weights and configuration as nnU-Net v2 writes them; take another."
            )
        # The folder that nnU-Net made is TRAINER__PLANS__CONFIGURATION/fold_0.
        before, plans_follow, _ = file.absolute().parents[1].name.partition("__")
        trainer = str(held.get("trainer_name") or (before if plans_follow else ""))[:200]
        return cls(file, weights, trainer, configuration, tuple(axes))


def _check_trainer(checkpoint: _Checkpoint) -> None:
    if checkpoint.trainer not in KNOWN_TRAINERS:
        trainer = checkpoint.trainer[:80] or "a trainer that it does not name"
        raise VesalError(
            f"{checkpoint.file} was trained by {trainer}, which is none of nnU-Net's own: its network may compute "
            "otherwise than plans.json says (another activation, say), and nothing in the files shows it; "
            "if it does not, add --custom-trainer."
        )


def _model_folder(request: ImportRequest) -> Path:
    """The folder of plans.json: the one that was named, or one in it, of the configuration that was asked for."""
    folder, wanted = request.folder, request.configuration
    if not folder.is_dir():
        what = "is a file" if folder.is_file() else "is not there"
        raise UsageError(
            f"{folder} {what}; name the folder of a trained nnU-Net, which holds {_PLANS}, or of a MONAI bundle."
        )
    found = (
        [folder]
        if (folder / _PLANS).is_file()
        else sorted(file.parent for file in folder.glob(f"*/{_PLANS}"))
    )
    found = [one for one in found if any(one.glob(f"{_FOLD}*"))]
    if not found:
        raise UsageError(
            f"{folder} holds no trained nnU-Net model: a folder with {_PLANS}, {_DATASET} and fold_0 or others, "
            "which nnU-Net calls TRAINER__PLANS__CONFIGURATION."
        )
    names = sorted({one.name.rpartition("__")[2] for one in found})
    if wanted is not None:
        if wanted not in names:
            raise unknown_name(f"configuration in {folder}", wanted, names)
        found = [one for one in found if one.name.rpartition("__")[2] == wanted]
    if len(found) > 1:
        ways = "name one of these folders" if len(names) == 1 or wanted else "say which by --configuration"
        raise UsageError(f"{folder} holds several models ({listed([one.name for one in found])}); {ways}.")
    return found[0]


def _folds(folder: Path, request: ImportRequest) -> list[Path]:
    """The checkpoints that vote."""
    there = {
        path.name.removeprefix(_FOLD): path for path in sorted(folder.glob(f"{_FOLD}*")) if path.is_dir()
    }
    if unknown := [name for name in request.folds if name not in there]:
        raise unknown_name(f"fold in {folder}", unknown[0], there)
    # As nnU-Net's own choice: fold_all only where it is asked for, or alone.
    numbered = [name for name in there if name.isdecimal()]
    names = list(dict.fromkeys(request.folds)) or numbered or list(there)
    for kind in (request.checkpoint,) if request.checkpoint else _CHECKPOINTS:
        files = [there[name] / _CHECKPOINT.format(kind) for name in names]
        present = [file for file in files if file.is_file()]
        if present and (len(present) == len(files) or not request.folds):
            return present
    kinds = request.checkpoint or " or ".join(_CHECKPOINTS)
    where = listed([f"{_FOLD}{name}" for name in names])
    raise UsageError(
        f"{folder} holds no checkpoint {kinds} in {where}; name what is there by --checkpoint or --fold."
    )


def _licence(request: ImportRequest, dataset: Mapping[str, Any], folder: Path) -> dict[str, str]:
    return licence_of(
        request,
        stated=[dataset.get(key) for key in _LICENCE_KEYS],
        origin=dataset.get("reference"),
        where=folder / _DATASET,
        name=folder.resolve().name,
    )


def _json(path: Path) -> dict[str, Any]:
    found = read_json(path)
    if not isinstance(found, dict):
        raise VesalError(
            f"{path} is not as nnU-Net v2 writes it; get it again from where the model was trained."
        )
    return found
