"""The record of a choice: its file, its tables, its sentences."""

from __future__ import annotations

import pytest

from vesal.errors import VesalError
from vesal.evaluate.postprocessing.choice_record import (
    ClassGain,
    Gain,
    PostprocessChoice,
    Trial,
    postprocess_remarks,
    save_choice,
)
from vesal.infer.postprocess import Step

ISLANDS = Step(do="largest", of="a")
CHOICE = PostprocessChoice(
    cases=16,
    patients=12,
    steps=(ISLANDS,),
    gain=Gain(mean=0.0123, low=0.004, high=0.02),
    crossfit_gain=Gain(mean=0.0101, low=0.002, high=0.019),
    parts=4,
    classes=(ClassGain(class_name="a", before=0.8, after=0.8123, gain=0.0123, crossfit_gain=None),),
    trials=(
        Trial(
            step=ISLANDS, gain=0.0123, low=0.001, high=0.03, hd95_change_mm=-2.0, changed=7, verdict="chosen"
        ),
        Trial(step=Step(do="fill_holes", of="a"), gain=0.0, changed=0, verdict="changes nothing"),
    ),
)


def test_the_record_comes_back_from_its_file_and_reads_as_tables(tmp_path) -> None:
    save_choice(tmp_path, CHOICE)
    assert PostprocessChoice.load(tmp_path / "postprocess.json") == CHOICE
    text = (tmp_path / "postprocess.md").read_text()
    for trial in CHOICE.trials:
        assert trial.step.title in text
    assert "+0.0123 [0.0010, 0.0300]" in text
    assert "chosen on other cases" in text


def test_the_scores_name_the_gain_and_its_optimism_where_steps_were_chosen(tmp_path) -> None:
    assert postprocess_remarks(tmp_path) == []
    save_choice(tmp_path, CHOICE)
    (remark,) = postprocess_remarks(tmp_path)
    assert "+0.0123" in remark
    assert "optimism" in remark
    save_choice(tmp_path, CHOICE.model_copy(update={"steps": ()}))
    assert postprocess_remarks(tmp_path) == []


def test_a_damaged_record_is_named(tmp_path) -> None:
    (tmp_path / "postprocess.json").write_text("{}")
    with pytest.raises(VesalError, match=r"postprocess\.json"):
        PostprocessChoice.load(tmp_path / "postprocess.json")
