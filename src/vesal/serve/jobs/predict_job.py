"""A job's work: segment what was uploaded, and write what was asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vesal.data.case import read_image
from vesal.data.dataset import Case
from vesal.data.labels import LabelSet
from vesal.errors import DataError
from vesal.infer.channels.missing_channels import may_miss
from vesal.infer.model import Model
from vesal.infer.quality.mask_features import volumes_ml
from vesal.infer.windows import watched
from vesal.layouts.dicom.chosen_series import WantedScan
from vesal.layouts.input_scans import ChannelFiles, cases_to_predict
from vesal.parallel import Progress
from vesal.report.figures.glb import write_glb
from vesal.report.figures.surfaces import class_surfaces
from vesal.report.files.stl import write_stl
from vesal.serve.jobs.job import CaseResult, ExpectedDice, JobOptions, Outcome, ResultFile, VolumeInterval
from vesal.volume.dicom.source import is_dicom_file
from vesal.volume.geometry import Geometry
from vesal.volume.io import data_files, is_image, read_label, write_label, write_volume
from vesal.volume.volume import LabelMap, Volume
from vesal.workflow.predict import PredictResult, predict_cases
from vesal.workflow.prediction.unpacked_inputs import unpacked
from vesal.workflow.requests.predict_options import DICOM_FORMATS, PredictOptions

_NIFTI = ".nii.gz"
#: Of the scan itself, for the viewer.
_SCAN = "scan"
_UNCERTAINTY = "uncertainty"


@dataclass(frozen=True)
class Work:
    """What a job's process is given.

    Attributes:
        inputs: as `vesal predict` takes them.
        folder: for the results; made anew.
        options: how.
        root: no file outside this folder is read.
        room_bytes: that must stay free on the disk.
    """

    inputs: tuple[Path, ...]
    folder: Path
    options: JobOptions
    root: Path
    room_bytes: int = 0


def predict_job(model: Model, work: Work, progress: Progress) -> Outcome:
    """Segment a job's scans.

    Args:
        model: that segments.
        work: what, and where to.
        progress: is called with (done, all) windows.

    Raises:
        DataError: nothing could be segmented; why.
        UsageError: the options do not fit the scan or the model.
    """
    wanted = WantedScan(
        model.plan.channels, model.plan.spacing_mm, work.options.series, work.options.fill_slices
    )
    notes: list[str] = []
    with unpacked(work.inputs, spare=work.room_bytes) as paths:
        roots = [work.root, *(path for path in paths if path not in work.inputs)]
        optional = all(may_miss(package.recipe) for package in model.packages)
        files = ChannelFiles(len(model.plan.channels), optional=optional)
        _check_one_kind(paths)
        cases = cases_to_predict(paths, files, model.labels, dicom=wanted, remark=notes.append)
        for case in cases:
            _check_inside(case, roots)
        _check_names(cases)
        with watched(progress):
            done = predict_cases(model, cases, work.folder, _options(work.options))
        if not done.files:
            raise DataError(
                "; ".join(failure.message for failure in done.failures) or "There is no scan in it."
            )
        notes += [f"{failure.id}: {failure.message}" for failure in done.failures]
        maker = _Maker(model.labels, work)
        for case in cases:
            if case.id in done.files:
                maker.make(case, done)
    return Outcome(cases=tuple(maker.cases), results=tuple(maker.results), notes=tuple(notes + done.remarks))


def _options(options: JobOptions) -> PredictOptions:
    objects = [kind for kind in options.to if kind in DICOM_FORMATS]
    return PredictOptions(
        to=",".join(["nifti", *objects]),
        threshold=options.threshold,
        uncertainty="uncertainty" in options.to,
    )


def _check_inside(case: Case, roots: Sequence[Path]) -> None:
    """A header may name the file of its voxels; an upload's may name no file of the server's own.

    Raises:
        DataError: it does.
    """
    allowed = [root.resolve() for root in roots]

    def check(image: Path, files: Sequence[Path]) -> None:
        for file in files:
            if not any(file.resolve().is_relative_to(root) for root in allowed):
                raise DataError(
                    f"{image.name} names voxels outside the upload; send one file that holds them."
                )

    for image in case.images:
        # Before it is opened: what kind of file something else is, and whether it is there, is nobody's business.
        check(image, [image])
        check(image, data_files(image))


def _check_one_kind(paths: Sequence[Path]) -> None:
    """A folder is read as images or as a study: of both, the study would be passed over without a word.

    Raises:
        DataError: it holds both.
    """
    for path in paths:
        files = [file for file in path.rglob("*") if not file.name.startswith(".")]
        images = [file for file in files if is_image(file)]
        if images and any(is_dicom_file(file) for file in files if not is_image(file)):
            raise DataError(
                f"{images[0].name} came along with DICOM objects, and one upload is either images or a study; send "
                "the study without it, or the image alone."
            )


def _check_names(cases: Sequence[Case]) -> None:
    """The files that are made of a scan are called by its name, with a word; another's name may not be that.

    Raises:
        DataError: it is.
    """
    names = {case.id.lower() for case in cases}
    for case in cases:
        for word in (_SCAN, _UNCERTAINTY):
            if (other := f"{case.id}.{word}").lower() in names:
                raise DataError(
                    f"{other} is also how a file of {case.id} is called; rename one of the two scans."
                )


@dataclass
class _Maker:
    """Makes what the prediction does not, and lists all files.

    Attributes:
        cases, results: what was found and written so far.
    """

    labels: LabelSet
    work: Work
    cases: list[CaseResult] = field(default_factory=list)
    results: list[ResultFile] = field(default_factory=list)

    def make(self, case: Case, done: PredictResult) -> None:
        """The files of a case."""
        folder, to = self.work.folder, self.work.options.to
        mask = folder / f"{case.id}{_NIFTI}"
        label = read_label(mask)
        self._list("nifti", case.id, mask)
        scan = read_image(case)
        path = folder / f"{case.id}.{_SCAN}{_NIFTI}"
        # The first channel: a picture to lay the mask on.
        write_volume(path, Volume(scan.array[:1], label.geometry))
        self._list(_SCAN, case.id, path)
        if "nrrd" in to:
            path = folder / f"{case.id}.nrrd"
            write_label(path, label)
            self._list("nrrd", case.id, path)
        if case.id in done.uncertainty:
            path = folder / f"{case.id}.{_UNCERTAINTY}{_NIFTI}"
            done.uncertainty[case.id].rename(path)
            self._list("uncertainty", case.id, path)
        for kind, ending in DICOM_FORMATS.items():
            if kind in to:
                self._list(kind, case.id, folder / f"{case.id}{ending}")
        contiguous = self.labels.encode(label.array)
        self._surfaces(case.id, contiguous, label.geometry)
        self.cases.append(self._found(case.id, contiguous, label, done))

    def _surfaces(self, case: str, contiguous: NDArray[np.uint8], geometry: Geometry) -> None:
        kinds = [kind for kind in ("glb", "stl") if kind in self.work.options.to]
        if not kinds or geometry.ndim != 3 or not contiguous.any():
            return
        meshes = class_surfaces(contiguous, geometry, self.labels)
        for kind in kinds:
            path = self.work.folder / f"{case}.{kind}"
            if kind == "glb":
                write_glb(path, {"prediction": meshes}, self.labels)
            else:
                write_stl(path, meshes, self.labels.classes)
            self._list(kind, case, path)

    def _found(
        self, case: str, contiguous: NDArray[np.uint8], label: LabelMap, done: PredictResult
    ) -> CaseResult:
        volumes = volumes_ml(contiguous, label.geometry, self.labels)
        row: dict[str, Any] = {} if done.quality is None else done.quality.rows.get(case, {})
        expected = {
            name: ExpectedDice(**{what: float(dice[what]) for what in ("value", "low", "high")})
            for name, dice in row.get("predicted_dice", {}).items()
        }
        intervals = {
            name: VolumeInterval(low=of["low"], high=of["high"], level=of["level"])
            for name, of in row.get("volumes_ml", {}).items()
            if of["low"] is not None
        }
        verdict, reason = row.get("verdict"), row.get("reason") or ""
        if note := done.notes.get(case):
            verdict, reason = "review", reason if note in reason else "; ".join(filter(None, (note, reason)))
        return CaseResult(
            name=case,
            volumes_ml=volumes,
            verdict={"ok": "pass"}.get(verdict or "", verdict),
            reason=reason if verdict == "review" else "",
            expected_dice=expected or None,
            volume_intervals=intervals,
        )

    def _list(self, kind: str, case: str, path: Path) -> None:
        digest = hashlib.sha256()
        for piece in _pieces(path):
            digest.update(piece)
        self.results.append(
            ResultFile(
                name=path.name, kind=kind, case=case, bytes=path.stat().st_size, sha256=digest.hexdigest()
            )
        )


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            yield piece
