"""What a card says of a model, and that it says what is not known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from vesal.nn.adaptation import Adaptation
from vesal.nn.model_file import Package
from vesal.report.card.card_section import CardSection
from vesal.report.card.card_sections import card_sections
from vesal.report.card.card_source import CardSource, Stated

#: Of a model card (Mitchell et al., 2019), with what medical imaging adds.
TITLES = [
    "Model details", "Intended use", "Training data", "Training", "Scores on held-out cases", "Robustness",
    "Quality estimate", "Intervals around volumes", "Limits", "Licence", "How to cite",
]  # fmt: skip

SourceOf = Callable[..., CardSource]


def by_title(source: CardSource) -> dict[str, CardSection]:
    return {one.title: one for one in card_sections(source)}


def words(one: CardSection) -> str:
    return " ".join([*one.sentences, *one.absent, *(f"{name}: {value}." for name, value in one.facts)])


def test_it_has_all_sections_whatever_is_known(package: Package, bare: Package, source_of: SourceOf) -> None:
    for of in (package, bare):
        assert list(by_title(source_of(of))) == TITLES


def test_it_tells_what_the_file_holds(package: Package, source_of: SourceOf) -> None:
    found = by_title(source_of(package))
    facts = dict(found["Training data"].facts) | dict(found["Training"].facts)
    assert (facts["cases"], facts["held out"], facts["steps"], facts["optimiser"]) == (
        "16",
        "4 cases",
        "120",
        "muon",
    )
    assert facts["budget"] == "20 min"
    values = found["Model details"].tables[0][1]
    assert [cell.shown for cell in values.rows[0]] == ["atrium", "1"]
    assert "clean held-out scans" in words(found["Limits"])


def test_of_a_bare_model_everything_is_absent_and_said_so(bare: Package, source_of: SourceOf) -> None:
    found = by_title(source_of(bare))
    for title in TITLES[4:8]:
        assert found[title].absent
        assert not found[title].tables
    assert "No held-out score is known" in words(found["Limits"])
    assert "nothing warns of a bad result" in words(found["Limits"])
    assert dict(found["Training data"].facts)["cases"] == "not in the model file"
    assert dict(found["Training"].facts)["loss"] == "not in the model file"
    for title, absent in (
        ("Intended use", "No intended use"),
        ("Licence", "No licence"),
        ("How to cite", "not stated"),
    ):
        assert absent in words(found[title])


@pytest.mark.parametrize("odd", [5, "many", ["a"], {"share": "all"}])
def test_what_a_file_from_elsewhere_holds_in_place_of_vesals_own_counts_as_nothing(
    odd: Any, bare: Package, source_of: SourceOf
) -> None:
    recipe = {"augment": {"artifacts": odd}, "budget_s": odd if odd != 5 else "5"}
    found = by_title(source_of(replace(bare, recipe=recipe, provenance={"versions": odd})))
    facts = dict(found["Training"].facts)
    assert (facts["budget"], facts["trained against artefacts"]) == (
        "none, or not recorded",
        "no, or not recorded",
    )
    assert by_title(source_of(replace(bare, recipe={"augment": odd}))).keys() == found.keys()


def test_what_is_stated_is_marked_as_stated(package: Package, source_of: SourceOf) -> None:
    stated = Stated(
        licence="CC-BY-4.0",
        intended_use="Volumes of atria.",
        authors=("A. One", "B. Two"),
        data_source="MSD, CC-BY-SA",
    )
    found = by_title(source_of(package, stated=stated))
    assert "Volumes of atria. (As stated by whoever made this card.)" in words(found["Intended use"])
    assert "CC-BY-4.0, as stated" in words(found["Licence"])
    assert "A. One and B. Two" in words(found["How to cite"])
    assert dict(found["Training data"].facts)["source and licence"] == "MSD, CC-BY-SA"


def test_classes_that_do_badly_are_named_among_the_limits(package: Package, source_of: SourceOf) -> None:
    source = source_of(package)
    assert source.scores is not None
    low = {row.class_name for row in source.scores.summary if row.metric == "dice" and (row.mean or 1) < 0.7}
    text = words(by_title(source)["Limits"])
    assert low
    assert all(name in text for name in low - {"mean"})


def test_a_fine_tuned_model_says_what_it_began_with(package: Package, source_of: SourceOf) -> None:
    record = Adaptation(
        model="heart.vesal", weights_digest="ab" * 20, channels={"MRI": "MRI"}, classes={"scar": "with zeros"},
        tensors=10, moved=8, adapted=2, share=0.75,
    )  # fmt: skip
    tuned = replace(package, provenance={**package.provenance, "finetuned_from": record.to_dict()})
    began = dict(by_title(source_of(tuned))["Training"].facts)["began with"]
    assert began.startswith("heart.vesal (digest abababababababab): 75.0% of the weights. New: class scar")
    for value in (None, {"model": 3}):
        other = replace(package, provenance={**package.provenance, "finetuned_from": value})
        assert "not" in dict(by_title(source_of(other))["Training"].facts)["began with"]
    given = replace(package, recipe={**package.recipe, "initial_weights": "/elsewhere/given.pth"})
    assert dict(by_title(source_of(given))["Training"].facts)["began with"] == "the weights of given.pth"


def test_a_model_that_may_miss_channels_is_for_scans_with_any_of_them(
    package: Package, source_of: SourceOf
) -> None:
    plan = package.plan.model_copy(update={"channels": ("T1", "T2")})
    trained = replace(package, plan=plan, recipe={"augment": {"drop_channels": 0.2}})
    assert "Not for scans without any of T1, T2," in words(by_title(source_of(trained))["Intended use"])


def test_cases_of_unknown_patients_are_not_said_to_be_of_as_many(
    package: Package, source_of: SourceOf
) -> None:
    def patients(*names: str) -> str:
        cases = [SimpleNamespace(patient=name) for name in names]
        dataset = SimpleNamespace(cases=cases, layout="msd")
        run = SimpleNamespace(dataset=dataset, fingerprint=None, environment={}, curves={}, missing=[])
        return dict(by_title(source_of(package, run=run))["Training data"].facts)["patients"]

    assert patients("a", "a", "b") == "2"
    assert patients("a", "b") == "2, one for each case, or not recorded"
