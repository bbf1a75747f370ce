"""What was measured of a model: scores, robustness, how well its quality is estimated, intervals around volumes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vesal.data.labels import MEAN
from vesal.evaluate.case_scores import ALL_METRICS
from vesal.evaluate.robustness.result import Robustness
from vesal.evaluate.robustness.result_text import drops_by_severity, headline_sentence
from vesal.evaluate.scores import Scores, Summary
from vesal.infer.channels.missing_channels import known_costs, may_miss
from vesal.infer.quality.quality_model import QualityModel
from vesal.report.card.card_section import CardSection
from vesal.report.card.card_source import CardSource
from vesal.table import Cell, Table
from vesal.text import plural

#: Metrics of a card, where they were measured.
_METRICS = ("dice", "nsd", "hd95_mm", "assd_mm")


def measured_sections(source: CardSource) -> tuple[CardSection, ...]:
    """Scores, robustness, quality estimate, intervals around volumes: each also where it was not measured."""
    found = (_scores(source), _robustness(source), _quality(source), _volumes(source))
    return (*found, _missing_channels(source)) if len(source.plan.channels) > 1 else found


def _scores(source: CardSource) -> CardSection:
    scores, title = source.scores, "Scores on held-out cases"
    if scores is None:
        return CardSection(
            title, absent=("No case was held out, or the run was not scored: there is no score.",)
        )
    began = _beginnings(source)
    unseen = f"{plural(source.held_out, 'case')} that no network had seen which predicted it."
    if seen := _seen(began):
        unseen = (
            f"{plural(source.held_out, 'case')} that were held out, of which the model that the training began with "
            f"had been trained on {seen}: these scores are too good."
        )
    elif not all(found.get("scans_known", True) for found in began) or _given_weights(source):
        unseen = (
            f"{plural(source.held_out, 'case')} that were held out. Not all scans are known that the model was trained "
            "on with which the training began: if some of these are among them, the scores are too good."
        )
    sentence = (
        f"{unseen} Means over the cases, in brackets the {scores.confidence:.0%} interval of the studentised bootstrap "
        f"over {scores.drawn}. NSD: share of the surface within {scores.tolerance_mm:g} mm."
    )
    tables = [("", _score_table(scores))]
    agreement = scores.agreement_ml
    if agreement:
        rows = [
            (
                name,
                Cell(of.bias, of.bias_low, of.bias_high, decimals=2),
                Cell(of.lower, decimals=2),
                Cell(of.upper, decimals=2),
                of.count,
            )
            for name, of in agreement.items()
        ]
        columns = ["class", "bias (ml)", "lower limit (ml)", "upper limit (ml)", "cases"]
        tables.append(("Volumes, predicted minus true (Bland and Altman)", Table.of(columns, rows)))
    return CardSection(title, sentences=(sentence,), tables=tuple(tables))


def _beginnings(source: CardSource) -> list[dict[str, Any]]:
    """What each file says of the model that its training began with."""
    began = [package.provenance.get("finetuned_from") for package in source.packages]
    return [found for found in began if isinstance(found, dict)]


def _given_weights(source: CardSource) -> bool:
    """Whether a training began with weights of which nothing else is known."""
    return any(
        package.recipe.get("initial_weights") and "finetuned_from" not in package.provenance
        for package in source.packages
    )


def _seen(began: Sequence[dict[str, Any]]) -> int:
    """Held-out cases that the models which a fine-tuning began with were trained on."""
    lists = [found.get("seen") for found in began]
    return sum(len(found) for found in lists if isinstance(found, list | tuple))


def _score_table(scores: Scores) -> Table:
    metrics = [name for name in _METRICS if name in scores.metrics]
    names = [
        f"{ALL_METRICS[name].title}{f' ({unit})' if (unit := ALL_METRICS[name].unit) else ''}"
        for name in metrics
    ]
    rows = []
    for class_name in (*scores.classes, *([MEAN] if len(scores.classes) > 1 else [])):
        found = [scores.of(metric, class_name) for metric in metrics]
        called = "mean of the classes" if class_name == MEAN else class_name
        rows.append((called, *map(_mean_cell, found), found[0].count))
    return Table.of(["class", *names, "cases"], rows)


def _mean_cell(row: Summary) -> Cell:
    """One case has no interval."""
    return Cell(row.mean, row.low, row.high) if row.count > 1 else Cell(row.mean)


def _robustness(source: CardSource) -> CardSection:
    found, title = source.robustness, "Robustness"
    if found is None:
        why = (
            "It was not measured: vesal robustness RUN measures what artefacts cost."
            if source.run is not None
            else "A model file does not hold it; name the run folder after vesal robustness RUN."
        )
        return CardSection(title, absent=(why,))
    sentence = f"{plural(found.cases, 'case')}, each corrupted. {headline_sentence(found)}"
    return CardSection(
        title, sentences=(sentence.strip(),), tables=(("Drop of the mean Dice in %", _drops(found)),)
    )


def _drops(found: Robustness) -> Table:
    severities, rows = drops_by_severity(found.conditions)
    columns = ["artefact", *("own settings" if one is None else f"severity {one}" for one in severities)]

    def cell(name: str, severity: int | None) -> Cell:
        one = rows[name].get(severity)
        return Cell() if one is None else Cell(one.drop_percent.mean, decimals=1)

    return Table.of(
        columns, [(name.replace("_", " "), *(cell(name, one) for one in severities)) for name in rows]
    )


def _quality(source: CardSource) -> CardSection:
    model, title = source.quality, "Quality estimate"
    if model is None or source.calibration is None:
        why = "It holds none: that takes held-out scans of 8 patients, and training by Vesal."
        return CardSection(title, absent=(why,))
    sentences = [
        "For each new scan the Dice is estimated, and review or ok said. Measured by cross-fitting on held-out scans.",
        f"The flag: {model.flag.error}.",
        f"Logits are divided by a temperature of {source.calibration.temperature:.2f}.",
    ]
    tables = [("", _dice_table(model))] if model.dice else []
    absent = () if model.flag.corrupted else ("How many scans with an artefact the flag finds.",)
    return CardSection(title, sentences=tuple(sentences), tables=tuple(tables), absent=absent)


def _missing_channels(source: CardSource) -> CardSection:
    title = "Scans without a channel"
    if not all(may_miss(package.recipe) for package in source.packages):
        return CardSection(title, sentences=("It was not trained for them, and refuses them.",))
    costs = known_costs(source.packages[0].missing_channels, source.path)
    if costs is None:
        return CardSection(title, absent=("It was trained for them; what they cost was not measured.",))
    sentence = (
        "It was trained for them. Held-out cases were predicted once more without each channel; the Dice is the mean "
        "over the classes. Several missing channels at a time were not measured."
    )
    return CardSection(title, sentences=(sentence,), tables=(("", costs.table()),))


def _dice_table(model: QualityModel) -> Table:
    return Table.of(
        ["class", "mean error of the predicted Dice", "of always the median", "Spearman", "scans"],
        [
            (
                name,
                of.accuracy.mae,
                of.accuracy.mae_of_mean,
                Cell(of.accuracy.spearman, decimals=2),
                of.accuracy.cases,
            )
            for name, of in model.dice.items()
        ],
    )


def _volumes(source: CardSource) -> CardSection:
    model, title = source.quality, "Intervals around volumes"
    if model is None or not model.volumes:
        return CardSection(
            title, absent=("It holds none: they are fitted with the quality estimate, from 8 patients on.",)
        )
    sentences = (
        "Each volume comes with a split conformal interval. Coverage: the share of held-out scans whose true "
        "volume such intervals hold, mean over repeated splits of the patients, in brackets where nine of ten splits "
        "lie. Width: median, as a share of the volume.",
    )
    rows = []
    for name, volume in model.volumes.items():
        of = volume.coverage
        held = None if not of.corrupted or of.width is None else of.corrupted_held / of.corrupted
        rows.append(
            (
                name,
                Cell(of.level, decimals=2),
                Cell(of.coverage, of.coverage_low, of.coverage_high, decimals=2),
                Cell(of.width, decimals=2),
                Cell(held, decimals=2),
                of.scans,
                volume.patients,
            )
        )
    columns = ["class", "level", "coverage", "width", "coverage under severe artefacts", "scans", "patients"]
    few = [name for name, volume in model.volumes.items() if volume.coverage.coverage is None]
    absent = (f"Coverage of {', '.join(few)}: too few held-out patients to split.",) if few else ()
    return CardSection(title, sentences=sentences, tables=(("", Table.of(columns, rows)),), absent=absent)
