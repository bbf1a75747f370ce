"""Every planted damage at once, among real cases: what can be fixed is what it was, all else is out or named."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import damage
import nibabel as nib
import numpy as np
import pytest
from damage import DAMAGES, copy_of

from vesal.layouts.registry import load_dataset
from vesal.workflow.inspect import FixSummary, fix_run

CASES = 100
#: Damage to two channels needs another data set; a shift is told where nearly all other cases are sound.
PLANTED = [name for name, one in DAMAGES.items() if one.needs != "channels" and one.kind != "label-shifted"]

#: Undone to the voxel and the place.
UNDONE = [
    "label's affine moved by 7 mm",
    "label's affine moved by 0.2 mm",
    "label cropped by one voxel",
    "label's axes exchanged",
    "label flipped",
    "image and label flipped",
    "label values exchanged",
    "label of 255 in place of 1",
    "label with a value that is not declared",
    "label in fractions",
    "stray island in the label",
    "spacing in metres, as the header says",
    "spacing in micrometres, as the header says",
    "spacing in centimetres as if in millimetres",
    "spacing ten times too large along an axis",
    "sform and qform apart",
    "sform of zeros",
    "voxel sizes that are not the sform's",
    "intercept that is no number",
]

#: What is lost cannot come back: the least Dice of any class against the true label.
NEARLY = {
    "label interpolated": 0.95,
    "label on a turned grid": 0.95,
    "label on a coarser grid": 0.75,
}

LEFT_OUT = [
    "label of another case",
    "label empty",
    "file cut off",
    "file without a byte",
    "label file of garbage",
    "label file absent",
    "image constant",
]

#: Kept and named: an error would be left out.
NAMED = {
    "label of half the object": "volume-outlier",
    "slices blank": "blank-slices",
    "intensities cut off": "intensity-outlier",
    "voxel size of 0": "pixdim-unset",
}


@dataclass(frozen=True)
class Planted:
    """A damaged and fixed data set; `case` and `ids` by the name of the damage."""

    truth: Path
    case: dict[str, str]
    ids: dict[str, tuple[str, ...]]
    result: FixSummary


@pytest.fixture(scope="module")
def planted(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Planted:
    source = data_dir / "Task04_Hippocampus"
    folder = tmp_path_factory.mktemp("planted") / "data"
    names = iter(copy_of(source, folder, CASES))
    spare = [next(names) for _ in range(10)]
    case: dict[str, str] = {}
    ids: dict[str, tuple[str, ...]] = {}
    enter = damage.enter
    for name in PLANTED:
        case[name] = next(names)
        # Several damages add a case of the same name.
        with pytest.MonkeyPatch.context() as patch:
            added: list[str] = []

            def own(folder: Path, id_: str, image: object, label: object, to: list[str] = added) -> None:
                to.append(f"added_{len(case)}" if id_.startswith("copy") else id_)
                enter(folder, to[-1], image, label)  # type: ignore[arg-type]

            patch.setattr(damage, "enter", own)
            other = next(names) if DAMAGES[name].kind in ("mismatched-label", "patient-leak") else spare[0]
            found = DAMAGES[name].harm(folder, case[name], other)
        ids[name] = tuple(dict.fromkeys([*(id_ for id_ in found if "_90" not in id_), *added]))
    return Planted(source, case, ids, fix_run(folder, folder.parent / "out", pictures=0))


def read(folder: Path, part: str, case: str) -> tuple[np.ndarray, np.ndarray]:
    image = nib.load(folder / part / f"{case}.nii.gz")
    return np.asanyarray(image.dataobj), image.affine


@pytest.mark.parametrize("name", UNDONE)
def test_what_can_be_undone_is_as_it_was(planted: Planted, name: str) -> None:
    for part in ("imagesTr", "labelsTr"):
        found, affine = read(planted.result.folder, part, planted.case[name])
        wanted, true_affine = read(planted.truth, part, planted.case[name])
        np.testing.assert_array_equal(found, wanted)
        np.testing.assert_allclose(affine, true_affine, atol=1e-4)


@pytest.mark.parametrize("name", NEARLY)
def test_what_lost_something_is_nearly_as_it_was(planted: Planted, name: str) -> None:
    found, _ = read(planted.result.folder, "labelsTr", planted.case[name])
    wanted, _ = read(planted.truth, "labelsTr", planted.case[name])
    for value in np.unique(wanted)[1:]:
        one, two = found == value, wanted == value
        assert 2 * (one & two).sum() / (one.sum() + two.sum()) > NEARLY[name]


@pytest.mark.parametrize("name", LEFT_OUT)
def test_what_cannot_be_fixed_is_out_and_named(planted: Planted, name: str) -> None:
    case = planted.case[name]
    assert case not in {one.id for one in load_dataset(planted.result.folder).cases}
    assert "left out" in {change.outcome for change in planted.result.records if change.case == case}


def test_where_no_header_says_left_or_right_the_other_cases_do(planted: Planted) -> None:
    """Voxel sizes alone mean that the first axis runs to the left; these organs run to the right."""
    case = planted.case["sform of zeros and no qform"]
    for part in ("imagesTr", "labelsTr"):
        found, affine = read(planted.result.folder, part, case)
        np.testing.assert_array_equal(found, read(planted.truth, part, case)[0])
        assert nib.aff2axcodes(affine) == ("R", "A", "S")
    outcomes = {change.kind: change.outcome for change in planted.result.records if change.case == case}
    assert outcomes == dict.fromkeys(("image-flipped", "orientation", "place-unknown"), "fixed")


def test_of_copies_one_is_left_and_no_test_scan_is_of_a_trained_patient(planted: Planted) -> None:
    dataset = load_dataset(planted.result.folder)
    there = {one.id for one in dataset.cases + dataset.unlabelled}
    for name in PLANTED:
        if DAMAGES[name].kind in ("duplicate", "near-duplicate", "patient-leak"):
            assert len(there & set(planted.ids[name])) == 1, name


def test_labels_of_two_cases_that_were_exchanged_are_together_with_their_images_again(
    planted: Planted,
) -> None:
    first, second = planted.ids["images of two cases exchanged"]
    for here, there in ((first, second), (second, first)):
        for part in ("imagesTr", "labelsTr"):
            found, _ = read(planted.result.folder, part, here)
            np.testing.assert_array_equal(found, read(planted.truth, part, there)[0])


def test_intensities_are_negated_back_to_rounding_and_what_is_no_number_is_the_least(
    planted: Planted,
) -> None:
    case = planted.case["intensities inverted"]
    found, wanted = (read(folder, "imagesTr", case)[0] for folder in (planted.result.folder, planted.truth))
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-6 * float(wanted.max()))
    case = planted.case["image not finite"]
    found, wanted = (read(folder, "imagesTr", case)[0] for folder in (planted.result.folder, planted.truth))
    assert (found != wanted).sum() <= 1
    assert np.isfinite(found).all()


def test_what_remains_is_named_and_is_no_error(planted: Planted) -> None:
    remaining = planted.result.remaining
    assert not [finding for finding in remaining if finding.severity == "error"]
    told = {(name, finding.kind) for finding in remaining for name in finding.cases}
    for name, kind in NAMED.items():
        assert (planted.case[name], kind) in told
    expected = {planted.case[name] for name in NAMED}
    assert {name for name, _ in told} <= expected


def test_a_case_without_damage_is_not_touched(planted: Planted) -> None:
    damaged = {name for ids in planted.ids.values() for name in ids} | set(planted.case.values())
    assert {change.case for change in planted.result.records} - damaged <= {"lone_900"}
