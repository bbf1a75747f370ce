"""What a model is and what it was made of: details, use, data, training, limits, licence, citation.

Every sentence rests on what the model file or the run folder holds, or says that whoever makes the card states it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from vesal.infer.backends.bfloat16_agreement import read_agreement
from vesal.infer.channels.missing_channels import may_miss
from vesal.nn.adaptation import Adaptation
from vesal.nn.licence import is_non_commercial
from vesal.planning.plan import Plan
from vesal.report.card.card_measurements import measured_sections
from vesal.report.card.card_section import NOT_HELD, CardSection
from vesal.report.card.card_source import CardSource
from vesal.table import Table
from vesal.text import budget_text, duration, listed, moment, number, plural, times
from vesal.version import __version__

#: A class whose mean Dice is lower is named among the limits.
_LOW_DICE = 0.7


def card_sections(source: CardSource) -> tuple[CardSection, ...]:
    """All sections in their order."""
    return (
        _details(source),
        _use(source),
        _data(source),
        _training(source),
        *measured_sections(source),
        _limits(source),
        _licence(source),
        _citation(source),
    )


def task_sentence(source: CardSource) -> str:
    """What it does, in a sentence."""
    plan = source.plan
    kind = "slices of volumes and 2D images" if plan.dimension == 2 else "volumes"
    channels = listed(list(plan.channels), 6)
    return f"Segments {listed(list(plan.labels.classes), 8, ' and ')} in {plan.modality} {kind} (channels: {channels})."


def _details(source: CardSource) -> CardSection:
    plan, first = source.plan, source.packages[0]
    voters = sum(len(package.voters) for package in source.packages)
    weights = sum(tensor.numel() for tensor in first.weights.values())
    agreement = read_agreement(first.bfloat16, source.path)
    facts = [
        ("task", task_sentence(source)),
        ("network", f"{first.network}, {plan.dimension}D, {plural(len(plan.stages), 'stage')}"),
        ("networks that vote", str(voters)),
        ("numbers in one network", f"{weights:,}"),
        ("stages", _stages(plan)),
        ("patch", times(plan.patch)),
        ("spacing", f"{times(plan.spacing_mm)} mm"),
        ("normalisation", listed([scheme.scheme for scheme in plan.normalisation], 8)),
        ("made on", moment(str(first.provenance["date"])) if "date" in first.provenance else NOT_HELD),
        ("versions", _versions(first.provenance)),
        ("digest of the weights", ", ".join(package.weights_digest[:16] for package in source.packages)),
        ("authors", listed(list(source.stated.authors), 20) or "not stated"),
        ("contact", source.stated.contact or "not stated"),
    ]
    steps = first.postprocess and first.postprocess.get("steps")
    facts.append(
        ("post-processing", f"{plural(len(steps), 'step')}, chosen on held-out cases" if steps else "none")
    )
    if agreement is not None:
        facts.append(("precision", agreement.sentence))
    names = {label.name: label.value for label in plan.labels.labels}
    rows: list[tuple[str, str]] = [(name, str(value)) for name, value in names.items()]
    tables = [("Label values", Table.of(["label", "value in the files"], rows))]
    if plan.labels.regions:
        regions = [(region.name, listed(list(region.members), 20)) for region in plan.labels.regions]
        tables.append(("Regions", Table.of(["region", "labels"], regions)))
    return CardSection("Model details", tuple(facts), tables=tuple(tables))


def _stages(plan: Plan) -> str:
    if plan.locator is None:
        return "one"
    return "two: " + (
        f"the masks of the first, at {times(plan.locator.spacing_mm)} mm, are channels of the second"
        if plan.takes_masks
        else "a coarse network finds the place"
    )


def _needed(source: CardSource) -> str:
    """The channels without which it does nothing."""
    channels = list(source.plan.channels)
    optional = len(channels) > 1 and all(may_miss(package.recipe) for package in source.packages)
    return f"any of {listed(channels, 6)}" if optional else listed(channels, 6)


def _use(source: CardSource) -> CardSection:
    stated = source.stated.intended_use
    plan = source.plan
    sentences = [
        f"{stated} (As stated by whoever made this card.)" if stated else "No intended use was stated.",
        task_sentence(source),
        "Research. It is no medical device: nobody has cleared it for diagnosis or treatment. A person who knows the "
        "anatomy looks at every result before anything rests on it.",
        f"Not for scans without {_needed(source)}, not for other modalities than {plan.modality}, and "
        "not for scans unlike the training data without a test on scans of one's own.",
    ]
    return CardSection("Intended use", sentences=tuple(sentences))


def _data(source: CardSource) -> CardSection:
    found, run = source.packages[0].provenance, source.run
    dataset = None if run is None else run.dataset
    record = None if run is None else run.fingerprint
    facts = [
        ("data set", str(found.get("dataset") or NOT_HELD)),
        ("cases", str(found.get("cases") or NOT_HELD)),
        ("held out", plural(source.held_out, "case") if source.held_out else "none, or not recorded"),
        ("channels", listed(list(source.plan.channels), 8)),
        ("median shape as prepared", times(source.plan.median_shape)),
        ("digest of the images", str(found.get("data_digest") or NOT_HELD)),
        ("source and licence", source.stated.data_source or "not stated"),
    ]
    if dataset is not None:
        patients = len({case.patient for case in dataset.cases})
        # Where nothing says whose a case is, it is a patient of its own.
        alone = ", one for each case, or not recorded" if patients == len(dataset.cases) else ""
        facts += [("layout", dataset.layout), ("patients", f"{patients}{alone}")]
    if record is not None and record.cases:
        spacings = sorted({times(case.spacing_mm) for case in record.cases})
        facts.append(("spacings of the files", f"{listed(spacings, 4)} mm"))
    absent = [
        "Age, sex, origin, disease, scanner and hospital of the patients: no file of Vesal's holds them."
    ]
    if run is None:
        absent.append(
            "Patients, layout and spacings of the files: they are in the run folder, which was not named."
        )
    return CardSection("Training data", tuple(facts), absent=tuple(absent))


def _training(source: CardSource) -> CardSection:
    first = source.packages[0]
    recipe, found, augment = first.recipe, first.provenance, _mapping(first.recipe.get("augment"))
    share, budget = _number(_mapping(augment.get("artifacts")).get("share")), _number(recipe.get("budget_s"))
    facts = [
        ("recipe", str(recipe.get("recipe") or recipe.get("name") or NOT_HELD)),
        ("budget", budget_text(budget) if budget else "none, or not recorded"),
        ("steps", str(found.get("step") or NOT_HELD)),
        ("batch", f"{source.plan.batch} patches"),
        ("loss", _called(recipe.get("loss"))),
        ("optimiser", _called(recipe.get("optimizer"))),
        ("seed", str(found.get("seed", NOT_HELD))),
        ("began with", _beginning(found.get("finetuned_from"), recipe.get("initial_weights"))),
        ("augmentation", "on" if augment.get("enabled") else "off, or not recorded"),
        ("trained against artefacts", f"{share:.0%} of the patches" if share else "no, or not recorded"),
    ]
    environment = {} if source.run is None else source.run.environment
    absent = () if environment else ("The machine: it is in the run folder, which was not named.",)
    if environment:
        machine = [
            environment.get("system"),
            plural(int(environment.get("cpus") or 0), "CPU"),
            environment.get("device"),
        ]
        facts.append(("machine", ", ".join(str(part) for part in machine if part)))
    if seconds := _seconds(source):
        facts.append(("training time", duration(seconds)))
    return CardSection("Training", tuple(facts), absent=absent)


def _limits(source: CardSource) -> CardSection:
    sentences = [
        "All numbers are of held-out scans of the training set's own source. How it does on scans of another hospital, "
        "scanner or protocol is not in them: vesal evaluate and vesal robustness measure it.",
    ]
    scores = source.scores
    if scores is None:
        sentences.append("No held-out score is known of it.")
    else:
        rows = [row for row in scores.summary if row.metric == "dice" and row.class_name in scores.classes]
        low = [
            f"{row.class_name} ({number(row.mean)})"
            for row in rows
            if row.mean is not None and row.mean < _LOW_DICE
        ]
        if low:
            sentences.append(f"Classes with a mean Dice under {_LOW_DICE:g}: {listed(low, 10)}.")
        empty = [row.class_name for row in rows if row.mean is None]
        if empty:
            sentences.append(f"Classes that no held-out case defines: {listed(empty, 10)}.")
        if scores.failures:
            sentences.append(f"{plural(len(scores.failures), 'held-out case')} could not be scored.")
    if source.quality is None:
        sentences.append("It holds no quality estimate: nothing warns of a bad result.")
    else:
        sentences.append(f"Its quality flag is no guarantee: {source.quality.flag.error}.")
    if source.robustness is None:
        sentences.append("What artefacts cost it was not measured, or is not at hand.")
    if source.run is not None:
        sentences += source.run.missing
    return CardSection("Limits", sentences=tuple(sentences))


def _licence(source: CardSource) -> CardSection:
    licence = source.stated.licence
    weights = (
        f"The weights: {licence}, as stated by whoever made this card{_forbids(licence)}."
        if licence
        else "No licence of the weights was stated."
    )
    return CardSection(
        "Licence",
        sentences=(
            weights,
            "The data that a model was trained on may bind its weights, too: look at the licence of the data set.",
            "Vesal itself: Apache-2.0.",
        ),
    )


def _forbids(licence: str) -> str:
    return "; commercial use is not allowed" if is_non_commercial(licence) else ""


def _citation(source: CardSource) -> CardSection:
    who = listed(list(source.stated.authors), 20, " and ") or "authors not stated"
    date = str(source.packages[0].provenance.get("date") or "")[:4]
    digest = source.packages[0].weights_digest[:16]
    return CardSection(
        "How to cite",
        sentences=(
            f"{who}: {source.name}{f' ({date})' if date else ''}, model {digest}, made with Vesal "
            f"{_vesal(source.packages[0].provenance)}.",
            "The Vesal authors: Vesal: from a folder of labelled medical scans to a segmenter that can be trusted.",
            f"This card was written by Vesal {__version__}.",
        ),
    )


def _beginning(value: object, weights: object) -> str:
    """The model that a fine-tuning began with, or the file of the weights that a training did."""
    if value is None:
        if weights:
            return f"the weights of {Path(str(weights)).name}"
        return "random weights, or not recorded"
    try:
        record = Adaptation.model_validate(value)
    except ValidationError:
        return NOT_HELD
    return f"{record.model} (digest {record.weights_digest[:16]}): {record.share:.1%} of the weights. {record.new}"


def _mapping(value: Any) -> dict[str, Any]:
    """What Vesal writes as a mapping; nothing where a file from elsewhere holds something else."""
    return value if isinstance(value, dict) else {}


def _number(value: Any) -> float:
    return value if isinstance(value, (int, float)) else 0.0


def _called(value: Any) -> str:
    """A name of a recipe, or of a record that has one."""
    if isinstance(value, dict):
        value = value.get("name") or value.get("kind") or ", ".join(sorted(value))
    return str(value) if value else NOT_HELD


def _vesal(provenance: dict[str, Any]) -> str:
    return str(_mapping(provenance.get("versions")).get("vesal") or "of an unknown version")


def _versions(provenance: dict[str, Any]) -> str:
    versions = _mapping(provenance.get("versions"))
    return ", ".join(f"{name} {version}" for name, version in versions.items()) or NOT_HELD


def _seconds(source: CardSource) -> float:
    """What all folds took."""
    curves = {} if source.run is None else source.run.curves
    return sum(max((float(row.get("time_s") or 0) for row in rows), default=0.0) for rows in curves.values())
