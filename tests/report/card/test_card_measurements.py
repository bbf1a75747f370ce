"""The measured part of a card: the numbers of the model file, and nothing where there are none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import pytest

from vesal.evaluate.robustness.degradation import ArtifactScore
from vesal.evaluate.robustness.result import Cost, Robustness, conclude
from vesal.infer.channels.missing_channels import ChannelCost, MissingChannels
from vesal.nn.model_file import Package
from vesal.report.card.card_measurements import measured_sections
from vesal.report.card.card_source import CardSource

SourceOf = Callable[..., CardSource]


def test_scores_are_those_of_the_file_with_their_intervals(package: Package, source_of: SourceOf) -> None:
    source = source_of(package)
    scores = measured_sections(source)[0]
    table = dict(scores.tables)[""]
    assert source.scores is not None
    for row in table.rows[:-1]:
        summary = source.scores.of("dice", row[0].shown)
        assert (row[1].value, row[1].low, row[1].high) == (summary.mean, summary.low, summary.high)
    assert table.rows[-1][0].shown == "mean of the classes"
    assert "secret" not in str(scores.to_dict())


def test_scores_of_cases_that_the_first_model_knew_are_called_too_good(
    package: Package, source_of: SourceOf
) -> None:
    assert "no network had seen" in measured_sections(source_of(package))[0].sentences[0]
    began = {**package.provenance, "finetuned_from": {"seen": ["secret 1", "secret 2"]}}
    (sentence,) = measured_sections(source_of(replace(package, provenance=began)))[0].sentences
    assert "been trained on 2: these scores are too good" in sentence
    assert "secret" not in sentence


def test_scores_after_a_model_of_unknown_scans_are_not_said_to_be_of_unseen_ones(
    package: Package, source_of: SourceOf
) -> None:
    began = {**package.provenance, "finetuned_from": {"seen": [], "scans_known": False}}
    weights = {**package.recipe, "initial_weights": "/elsewhere/given.safetensors"}
    for other in (replace(package, provenance=began), replace(package, recipe=weights)):
        (sentence,) = measured_sections(source_of(other))[0].sentences
        assert "no network had seen" not in sentence
        assert "Not all scans are known" in sentence


def test_calibration_and_coverage_are_those_of_the_quality_model(
    package: Package, source_of: SourceOf
) -> None:
    source = source_of(package)
    assert source.quality is not None
    _, _, quality, volumes = measured_sections(source)
    accuracy = source.quality.dice["atrium"].accuracy
    row = quality.tables[0][1].rows[0]
    assert [cell.value for cell in row] == [
        "atrium",
        accuracy.mae,
        accuracy.mae_of_mean,
        accuracy.spearman,
        12,
    ]
    of = source.quality.volumes["atrium"].coverage
    row = volumes.tables[0][1].rows[0]
    assert (row[1].value, row[2].value, row[3].value) == (0.9, of.coverage, of.width)
    # No scan with an artefact was predicted.
    assert row[4].value is None
    assert "How many scans with an artefact the flag finds." in quality.absent


def test_robustness_is_absent_with_what_would_measure_it(package: Package, source_of: SourceOf) -> None:
    (sentence,) = measured_sections(source_of(package))[1].absent
    assert "name the run folder" in sentence
    (sentence,) = measured_sections(source_of(package, run=SimpleNamespace()))[1].absent
    assert "vesal robustness RUN" in sentence


def test_drops_stand_by_artefact_and_severity(
    package: Package, source_of: SourceOf, robust: Robustness
) -> None:
    section = measured_sections(source_of(package, robustness=robust))[1]
    assert "1 case" in section.sentences[0]
    table = section.tables[0][1]
    assert table.columns == ["artefact", "severity 3"]
    assert [cell.shown for cell in table.rows[0]] == ["bias field", "25.0"]


@pytest.fixture
def robust() -> Robustness:
    """Of one case that a bias field of severity 3 costs a quarter of its Dice."""
    rows = [
        ArtifactScore(
            case="secret", artifact=artifact, severity=severity, condition=condition, class_name="atrium", dice=dice,
            hd95_mm=2.0, boundary_dice=0.5, clean_dice=0.8,
        )
        for artifact, severity, condition, dice in (
            ("clean", None, "clean", 0.8),
            ("bias_field", 3, "bias_field 3", 0.6),
        )
    ]  # fmt: skip
    cost = Cost(seconds=1.0, predictions=2)
    return conclude(rows, ["atrium"], about={"model": "m.vesal", "data": "d", "settings": {}, "cost": cost})


def test_what_a_missing_channel_costs_is_on_the_card_of_a_model_of_several(
    package: Package, source_of: SourceOf
) -> None:
    plan = package.plan.model_copy(update={"channels": ("T1", "T2")})
    plain = measured_sections(source_of(replace(package, plan=plan)))[-1]
    assert plain.sentences == ("It was not trained for them, and refuses them.",)
    trained = replace(package, plan=plan, recipe={"augment": {"drop_channels": 0.2}})
    assert "was not measured" in measured_sections(source_of(trained))[-1].absent[0]
    costs = MissingChannels(channels={"T2": ChannelCost(dice=0.8, lost=0.1, low=0.05, high=0.2, cases=9)})
    found = measured_sections(source_of(replace(trained, missing_channels=costs.to_dict())))[-1]
    assert found.title == "Scans without a channel"
    assert found.tables[0][1].rows[0][2].shown == "0.100 (0.050 to 0.200)"
