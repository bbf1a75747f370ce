"""Of a study the series that a model was trained on: by modality and voxels, or as a person asks."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vesal.data.dataset import Case
from vesal.errors import UsageError
from vesal.layouts.dicom.dicom_studies import CHANNELS, scan_cases
from vesal.text import listed, plural, times
from vesal.volume.dicom.dicom_scan import DicomScan
from vesal.volume.dicom.identity import pseudonym
from vesal.volume.dicom.series import Series, Study, read_study
from vesal.volume.dicom.source import open_source

#: Two series whose voxels differ by less than this factor from the model's, one as the other, fit alike.
_ALIKE = 1.02


@dataclass(frozen=True)
class WantedScan:
    """What a model takes.

    Attributes:
        channels: their names, such as ('CT',) or ('T1', 'FLAIR').
        spacing_mm: of its voxels, in any order.
        series: what a person asked for, one for each channel: a series' UID, number, or a part of its description.
        fill_slices: slices that are missing are filled in from their neighbours.
    """

    channels: tuple[str, ...]
    spacing_mm: tuple[float, ...]
    series: tuple[str, ...] = ()
    fill_slices: bool = False


def dicom_cases(path: Path, wanted: WantedScan, remark: Callable[[str], object]) -> list[Case]:
    """A case for each study below a folder, or for each phase of its series.

    Args:
        path: a folder, a DICOMDIR, or a file, which stands for the series that it is of.
        wanted: what the model takes.
        remark: is told what was chosen and what left out.

    Raises:
        UsageError: no series fits, with what was left out and why; or several do alike, with what tells them apart.
        DataError: an object is damaged.
    """
    source = open_source(path)
    one_file = path.is_file() and path.name.upper() != "DICOMDIR"
    study = read_study(open_source(path.parent, below=False) if one_file else source)
    remarks: list[str] = [study.remark()] if study.left_out and not one_file else []
    series = [one for one in study.series if not one_file or any(f.file == path.name for f in one.frames)]
    cases = []
    studies = list(dict.fromkeys(one.study for one in series))
    for uid in studies:
        own = [one for one in series if one.study == uid]
        try:
            found = _of_study(study, own, wanted, remarks.append)
        except UsageError as error:
            if len(studies) == 1:
                raise
            remarks.append(f"{pseudonym('study', uid)} was left out. {error}")
            continue
        if not found and len(studies) > 1:
            remarks.append(f"{pseudonym('study', uid)} was left out: no series of it fits the model.")
        cases += found
    if not cases:
        held = ", ".join(sorted({one.modality for one in series})) or "none"
        sentence = (
            f"{path} holds no series of slices that a model of {' and '.join(wanted.channels)} takes (its series: "
            f"{held}); give another study, or choose another model."
        )
        # Such as a slice that is missing.
        raise UsageError(" ".join([sentence, *remarks]))
    for one in remarks:
        remark(one)
    return cases


def _of_study(
    study: Study, series: Sequence[Series], wanted: WantedScan, remark: Callable[[str], object]
) -> list[Case]:
    asked = wanted.series if wanted.series else (None,) * len(wanted.channels)
    if len(asked) != len(wanted.channels):
        raise UsageError(
            f"The model takes {plural(len(wanted.channels), 'channel')} ({', '.join(wanted.channels)}) and "
            f"{len(asked)} series were named; give --series once for each, in that order."
        )
    found: list[list[tuple[Case, DicomScan]]] = []
    for channel, name in zip(wanted.channels, asked, strict=True):
        remarks: list[str] = []
        fitting = _fitting(series, channel, name, wanted.channels)
        volumes = list(scan_cases(study, fitting, remarks, fill=wanted.fill_slices))
        if name is None:
            volumes = _nearest(volumes, wanted, channel)
        for one in remarks:
            remark(one)
        if not volumes:
            return []
        if len(wanted.channels) > 1 and len(volumes) > 1:
            raise UsageError(_several(channel, [scan for _, scan in volumes]))
        if len({scan.series.uid for _, scan in volumes}) < len({one.uid for one in series}):
            remark(_chosen(volumes[0][1], len(series)))
        found.append(volumes)
    if len(found) == 1:
        if len(found[0]) > 1:
            remark(_apart(found[0]))
        return [case for case, _ in found[0]]
    images = tuple(volumes[0][0].images[0] for volumes in found)
    first: dict[str, str] = {}
    for channel, volumes, name in zip(wanted.channels, found, asked, strict=True):
        other = first.setdefault(volumes[0][1].series.uid, channel)
        if other != channel and name is None:
            raise UsageError(
                f"Series {_volume(volumes[0][1])} would be both {other} and {channel}: its description fits both, and "
                "no other series fits better; name the series of each channel by --series."
            )
    return [found[0][0][0].model_copy(update={"images": images})]


def _fitting(
    series: Sequence[Series], channel: str, name: str | None, channels: Sequence[str]
) -> list[Series]:
    """Those of the channel's modality, or that a person named.

    Of several channels those whose description holds the name of this one; and where some hold no other's of its
    modality, these alone: T1 is a part of T1CE, and FLAIR is called T2 FLAIR.
    """
    if name is not None:
        return series_named(series, name)
    modality = _modality(channel)
    of_modality = [one for one in series if one.modality == modality]
    if len(channels) < 2:
        return of_modality
    fitting = [one for one in of_modality if _plain(channel) in _plain(one.description)]
    others = [_plain(other) for other in channels if other != channel and _modality(other) == modality]
    return [one for one in fitting if not any(map(_plain(one.description).__contains__, others))] or fitting


def _modality(channel: str) -> str:
    return {word: key for key, word in CHANNELS.items()}.get(channel, "MR")


def _plain(name: str) -> str:
    return re.sub("[^a-z0-9]", "", name.lower())


def series_named(series: Sequence[Series], name: str) -> list[Series]:
    """Those with this UID or number, else with this part in their description.

    Raises:
        UsageError: there is none.
    """
    chosen = [one for one in series if name in (one.uid, str(one.number))]
    chosen = chosen or [one for one in series if name.lower() in one.description.lower()]
    if not chosen:
        numbers = listed([str(one.number) for one in series])
        raise UsageError(f"No series is '{name}'; there are those with the numbers {numbers}.")
    return chosen


def _nearest(
    volumes: Sequence[tuple[Case, DicomScan]], wanted: WantedScan, channel: str
) -> list[tuple[Case, DicomScan]]:
    """The volumes of the series whose voxels are nearest to the model's."""
    if len({scan.series.uid for _, scan in volumes}) < 2:
        return list(volumes)
    ranked = sorted(volumes, key=lambda one: _distance(one[1], wanted))
    best, first = _distance(ranked[0][1], wanted), ranked[0][1].series
    rivals = [
        scan.series
        for _, scan in ranked
        if scan.series.uid != first.uid and _distance(scan, wanted) < best + math.log(_ALIKE)
    ]
    if rivals:
        which = listed([_named(one) for one in (first, *rivals)])
        raise UsageError(
            f"Several series fit a model of {channel} alike: {which}. Choose one by --series, with its number, its UID "
            "or a part of its description."
        )
    return [one for one in ranked if one[1].series.uid == first.uid]


def _distance(scan: DicomScan, wanted: WantedScan) -> float:
    """How far the voxels' sides are from the model's, as the sum of the logarithms of their ratios."""
    sides = sorted(scan.stack.geometry.spacing_mm)[: len(wanted.spacing_mm)]
    return sum(abs(math.log(side / own)) for side, own in zip(sides, sorted(wanted.spacing_mm), strict=True))


def _named(series: Series) -> str:
    return f"number {series.number} ({series.modality}, {plural(len(series.frames), 'slice')})"


def _volume(scan: DicomScan) -> str:
    return f"number {scan.series.number}{f', {scan.stack.phase}' if scan.stack.phase else ''}"


def _several(channel: str, found: Sequence[DicomScan]) -> str:
    which = listed([_volume(scan) for scan in found])
    return (
        f"{channel} would be one of {len(found)} volumes ({which}), and a channel is one; choose its series by "
        "--series, or export the phase that is meant as a series of its own."
    )


def _apart(volumes: Sequence[tuple[Case, DicomScan]]) -> str:
    """Which case is which phase, or which of the series that a person named: the names themselves do not tell."""
    which = listed([f"{case.id} ({_volume(scan)})" for case, scan in volumes], len(volumes))
    return f"{len(volumes)} volumes are a scan each: {which}."


def _chosen(scan: DicomScan, of: int) -> str:
    study = pseudonym("study", scan.series.study)
    what = f"{scan.series.modality} with voxels of {times(scan.stack.geometry.spacing_mm, 3)} mm"
    return f"Of {of} series of {study} number {scan.series.number} was taken, {what}; --series takes another."
