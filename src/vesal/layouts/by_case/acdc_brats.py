"""The layouts of two challenges that come with no description: ACDC and BraTS."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from vesal.data.dataset import Case, Dataset, Orphan
from vesal.data.labels import LabelSet
from vesal.errors import DataError
from vesal.layouts.label_discovery import found_labels, label_values
from vesal.layouts.scan_files import by_stem, folders_below, image_files, visible
from vesal.parallel import map_in_order
from vesal.volume.io import is_image, strip_suffix

# --- ACDC --------------------------------------------------------------------------------------------------

_ACDC_FRAME = re.compile(r"(?P<patient>patient\d+)_frame(?P<frame>\d+)(?P<truth>_gt)?")


def detect_acdc(root: Path) -> str | None:
    """Folders of patients with patientXXX_frameNN files."""
    for patient in _acdc_patients(_acdc_training(root)):
        if any(_ACDC_FRAME.fullmatch(strip_suffix(path)) for path in image_files(patient)):
            return f"{patient.relative_to(root)} with files such as patientXXX_frameNN_gt"
    return None


def read_acdc(root: Path, labels: LabelSet | None) -> Dataset:
    """patientXXX/patientXXX_frameNN.nii.gz with _gt; the frames of a patient stay together.

    Labels are 1 right ventricle, 2 myocardium, 3 left ventricle (Bernard et al., TMI 2018). Where there are
    training/ and testing/, the second is a test set. Info.cfg says which frame is end-diastole (ED) and which
    end-systole (ES).
    """
    training = _acdc_training(root)
    cases, orphans, phases = [], [], Counter[str]()
    for patient in _acdc_patients(training):
        frames, truths = _acdc_frames(patient)
        for frame, path in frames.items():
            if frame in truths:
                cases.append(_acdc_case(path, truths[frame]))
            else:
                orphans.append(Orphan(id=strip_suffix(path), path=path, missing="label"))
        orphans += [
            Orphan(id=strip_suffix(path).removesuffix("_gt"), path=path, missing="image")
            for frame, path in truths.items()
            if frame not in frames
        ]
        there = {frame for _, frame in frames}
        phases.update(phase for phase, frame in _acdc_phases(patient).items() if frame in there)
    remarks = []
    if phases:
        remarks.append(
            f"Info.cfg names {phases['ED']} end-diastolic and {phases['ES']} end-systolic volumes."
        )
    tests = []
    if training != root:
        for patient in _acdc_patients(root / "testing"):
            tests += [_acdc_case(path, None) for path in _acdc_frames(patient)[0].values()]
    if tests:
        remarks.append(f"The {len(tests)} volumes in testing/ are kept as a test set, without their labels.")
    return Dataset(
        name="ACDC",
        root=root,
        layout="acdc",
        channels=("MRI",),
        labels=labels or LabelSet.from_values({"RV": 1, "Myo": 2, "LV": 3}),
        cases=tuple(cases),
        unlabelled=tuple(tests),
        orphans=tuple(orphans),
        remarks=tuple(remarks),
    )


def _acdc_training(root: Path) -> Path:
    inner = root / "training"
    return inner if not _acdc_patients(root) and inner.is_dir() else root


def _acdc_patients(folder: Path) -> list[Path]:
    return [path for path in visible(folder) if re.fullmatch(r"patient\d+", path.name) and path.is_dir()]


#: The patient that a file's name says, which a folder of another may hold by mistake, and the number of the frame.
_AcdcFrame = tuple[str, int]


def _acdc_frames(patient: Path) -> tuple[dict[_AcdcFrame, Path], dict[_AcdcFrame, Path]]:
    """Images and truths in the folder of a patient.

    Raises:
        DataError: two files are one frame's, such as frame01 and frame1.
    """
    frames: dict[_AcdcFrame, Path] = {}
    truths: dict[_AcdcFrame, Path] = {}
    for stem, path in by_stem(patient).items():
        if match := _ACDC_FRAME.fullmatch(stem):
            kind, frame = truths if match["truth"] else frames, (match["patient"], int(match["frame"]))
            if (other := kind.setdefault(frame, path)) is not path:
                raise DataError(f"{other} and {path} are of one frame; remove one of them.")
    return frames, truths


def _acdc_case(path: Path, label: Path | None) -> Case:
    return Case(id=strip_suffix(path), images=(path,), label=label, patient=path.parent.name)


def _acdc_phases(patient: Path) -> dict[str, int]:
    """{'ED': frame, 'ES': frame} of Info.cfg; {} without it."""
    try:
        text = (patient / "Info.cfg").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    return {phase: int(frame) for phase, frame in re.findall(r"^\s*(ED|ES)\s*:\s*(\d+)", text, re.MULTILINE)}


# --- BraTS -------------------------------------------------------------------------------------------------

_BRATS_ROLES = {
    "flair": "FLAIR", "t2f": "FLAIR",
    "t1": "T1", "t1n": "T1",
    "t1ce": "T1ce", "t1gd": "T1ce", "t1c": "T1ce",
    "t2": "T2", "t2w": "T2",
    "seg": "label", "segm": "label",
}  # fmt: skip
BRATS_CHANNELS = ("FLAIR", "T1", "T1ce", "T2")
_BRATS_FILE = re.compile(rf"(?P<case>.+)[_-](?P<role>{'|'.join(_BRATS_ROLES)})", re.IGNORECASE)
_BRATS_DEPTH = 3  # training data/HGG/case
_BRATS_LOOK = 8  # label files that are read to see what they hold


def detect_brats(root: Path) -> str | None:
    """Files that end in _flair, _t1ce and the like, in folders at most three levels down."""
    if any((folder / "dataset.json").exists() for folder in visible(root)):
        return None  # a folder of several data sets
    for folder in _brats_folders(root):
        for case, files in _brats_groups(folder).items():
            if len(set(files) & set(BRATS_CHANNELS)) >= 3:
                return f"{case} with files of {', '.join(name for name in BRATS_CHANNELS if name in files)}"
    return None


def read_brats(root: Path, labels: LabelSet | None) -> Dataset:
    """Four images a case and _seg, in one folder a case (nested in HGG and LGG or not) or all in one folder.

    Labels are 1 necrotic core, 2 oedema and 4 (BraTS 2012 to 2021) or 3 (since 2023) enhancing tumour; measured are
    the regions whole tumour, tumour core and enhancing tumour (Menze et al., TMI 2015; Bakas et al., 2018). Scans of
    other diseases come in such files too: where neither names nor label values are those of BraTS, the labels are
    the values found.
    """
    groups: dict[str, dict[str, Path]] = {}
    for folder in _brats_folders(root):
        for name, files in _brats_groups(folder, once=True).items():
            if name in groups:
                first, second = next(iter(groups[name].values())), next(iter(files.values()))
                raise DataError(
                    f"Two cases are called '{name}' ({first} and {second}); give each its own name."
                )
            groups[name] = files
    scans = [files for files in groups.values() if set(files) & set(BRATS_CHANNELS)]
    # A channel that most cases lack is no channel of this data set; one that few lack is missing there.
    channels = tuple(
        name for name in BRATS_CHANNELS if 2 * sum(name in files for files in scans) > len(scans)
    )
    cases, tests, orphans = [], [], []
    labelled = any("label" in files for files in scans)
    for name, files in groups.items():
        absent = [channel for channel in channels if channel not in files]
        images = tuple(files[channel] for channel in channels if channel in files)
        case = Case(id=name, images=images, label=files.get("label"), patient=_brats_patient(name))
        if absent:
            missing = "image" if not images else absent[0]
            orphans.append(Orphan(id=name, path=next(iter(files.values())), missing=missing))
        elif case.label is not None:
            cases.append(case)
        elif labelled:
            orphans.append(Orphan(id=name, path=images[0], missing="label"))
        else:
            tests.append(case)
    remarks = []
    if labels is None:
        # The data set's own name, those of the cases, and of the folders that they are in.
        names = {root.name, *groups}
        for files in groups.values():
            names |= set(next(iter(files.values())).relative_to(root).parts[:-1])
        named = any(re.match("brats", name, re.IGNORECASE) for name in names)
        labels, remark = _brats_labels(cases, root, named=named)
        remarks.append(remark)
    if channels != BRATS_CHANNELS:
        remarks.append(f"Most cases have only the channels {', '.join(channels)}.")
    return Dataset(
        name=root.name,
        root=root,
        layout="brats",
        channels=channels,
        labels=labels,
        cases=tuple(cases),
        unlabelled=tuple(tests),
        orphans=tuple(orphans),
        remarks=tuple(remarks),
    )


def _brats_folders(root: Path) -> Iterator[Path]:
    """Where files of cases may be; not the folders that are called like an image, each of which stands for one."""
    return (folder for folder in folders_below(root, _BRATS_DEPTH) if folder == root or not is_image(folder))


def _brats_groups(folder: Path, *, once: bool = False) -> dict[str, dict[str, Path]]:
    """Case -> {channel or 'label': file} of the files directly in a folder.

    Raises:
        DataError: two files of a case are one channel, or both its label, and each is to be there `once`.
    """
    groups: dict[str, dict[str, Path]] = {}
    for stem, path in by_stem(folder).items():
        if match := _BRATS_FILE.fullmatch(stem):
            role = _BRATS_ROLES[match["role"].lower()]
            other = groups.setdefault(match["case"], {}).setdefault(role, path)
            if once and other is not path:
                what = "the label" if role == "label" else role
                raise DataError(f"{other} and {path} are both {what} of one case; remove one of them.")
    scans = [name for name, files in groups.items() if set(files) & set(BRATS_CHANNELS)]
    lone = [name for name, files in groups.items() if set(files) == {"label"}]
    # BraTS 2020 has one label file that does not bear its case's name.
    if len(scans) == len(lone) == 1 and "label" not in groups[scans[0]]:
        groups[scans[0]] |= groups.pop(lone[0])
    return groups


def _brats_patient(name: str) -> str:
    """The case's name without the number of the examination, where BraTS gives one.

    >>> _brats_patient("BraTS-GLI-00005-001"), _brats_patient("Brats18_TCIA01_201_1"), _brats_patient("BraTS2021_00000")
    ('BraTS-GLI-00005', 'Brats18_TCIA01_201', 'BraTS2021_00000')
    """
    match = re.fullmatch(r"(BraTS-[A-Za-z]+-\d+)-\d+|(Brats1[78]_.+_.+)_\d+", name)
    return (match[1] or match[2]) if match else name


def _brats_labels(cases: list[Case], root: Path, *, named: bool) -> tuple[LabelSet, str]:
    """Which of 3 and 4 is the enhancing tumour, from a few label files; both since 2024, when 4 is the cavity.

    Where the names do not say that it is BraTS, values may: 2, and 3 or 4, and none beyond.
    """
    drawn = [case.label for case in cases if case.label is not None]
    seen = drawn[:_BRATS_LOOK]
    every: set[int] = set()
    for values_there in map_in_order(label_values, seen):
        every |= values_there if isinstance(values_there, set) else set()
    found = every & {3, 4}
    if not named and not (found and 2 in every and every <= {0, 1, 2, 3, 4}):
        if drawn:
            labels, remark = found_labels(cases, root)
            return labels, f"Neither names nor label values are those of BraTS. {remark}"
        unknown = LabelSet.from_values({"foreground": 1})
        return unknown, "No name is one of BraTS and there is no label file, so what labels mean is unknown."
    values = {"background": 0, "necrotic core": 1, "oedema": 2}
    if found == {3, 4}:
        values |= {"enhancing tumour": 3, "resection cavity": 4}
    else:
        since_2023 = bool(cases) and re.search(r"[_-]t2f\.", cases[0].images[0].name, re.IGNORECASE)
        values["enhancing tumour"] = min(found, default=3 if since_2023 else 4)
    labels = LabelSet.from_values(
        values,
        regions={
            "whole tumour": ["oedema", "necrotic core", "enhancing tumour"],
            "tumour core": ["necrotic core", "enhancing tumour"],
            "enhancing tumour": ["enhancing tumour"],
        },
    )
    basis = (
        f"as in the first {len(seen)} label files" if found else "as no label file looked at says otherwise"
    )
    return labels, f"Enhancing tumour has the value {values['enhancing tumour']}, {basis}."
