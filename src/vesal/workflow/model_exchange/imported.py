"""What came of an import, and under which licence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vesal.errors import UsageError
from vesal.nn.licence import LICENCE, ORIGIN, UNKNOWN, licence_remarks
from vesal.nn.nnunet.known_trainers import KNOWN_TRAINERS
from vesal.planning.plan import Plan
from vesal.text import listed, plural, times
from vesal.workflow.requests.import_request import ImportRequest


@dataclass(frozen=True)
class Imported:
    """A model that was imported.

    Attributes:
        file: of the model.
        network: its name in `vesal.nn.zoo.NETWORKS`.
        plan: of the model.
        provenance: as in the model file.
    """

    file: Path
    network: str
    plan: Plan
    provenance: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        labels = self.plan.labels
        return {
            "model": str(self.file),
            "network": self.network,
            "networks": self.plan.networks,
            "dimension": self.plan.dimension,
            "spacing_mm": list(self.plan.spacing_mm),
            "patch": list(self.plan.patch),
            "channels": list(self.plan.channels),
            "classes": list(labels.classes),
            "provenance": self.provenance,
            "remarks": self.remarks(),
        }

    def remarks(self) -> list[str]:
        """What is to be known before the model is used."""
        source = self.provenance["imported"]
        trainers = [
            stage["trainer"] for stage in (source, source.get("previous_stage", {})) if "trainer" in stage
        ]
        custom = [
            f"Trained by {trainer or 'a trainer without a name'}, none of nnU-Net's own; its network is taken to "
            "compute as plans.json says, which --custom-trainer stated."
            for trainer in dict.fromkeys(trainers)
            if trainer not in KNOWN_TRAINERS
        ]
        return [*licence_remarks(self.provenance), *custom]

    def text(self) -> str:
        """What it is, and under which licence."""
        plan, source = self.plan, self.provenance["imported"]
        program, of = (
            "MONAI",
            f"the MONAI bundle {self.provenance['dataset']} {source.get('version', '')}".rstrip(),
        )
        if plan.rules == "nnunet":
            program = "nnU-Net"
            of = (
                f"nnU-Net's {self.provenance['dataset']} {source['configuration']}, {listed(source['folds'])}"
            )
            if (first := source.get("previous_stage")) is not None:
                of += f", on the masks of {first['configuration']}, {listed(first['folds'])}"
        spacing = "Scans' own spacing" if plan.keeps_spacing else f"Spacing {times(plan.spacing_mm)} mm"
        lines = [
            f"{self.file}: {plural(plan.networks, 'network')} ({self.network}, {plan.dimension}D) of {of}",
            f"Channels: {', '.join(plan.channels)}; classes: {listed(plan.labels.classes)}",
            f"{spacing}, patch {times(plan.patch)}; prepared and restored as {program} does",
            *self.remarks(),
        ]
        return "\n".join(lines)


def licence_of(
    request: ImportRequest, *, stated: Sequence[object], origin: object, where: Path, name: str
) -> dict[str, str]:
    """Licence and origin of the weights, as given or as the model's own files say.

    Args:
        request: what was given.
        stated: what may be the licence, the first text counts.
        origin: what may be the origin.
        where: the file that would say it, for the message.
        name: of the model, which is the origin where nothing says it.

    Raises:
        UsageError: neither says the licence.
    """
    licence = request.licence or next(
        (text for text in stated if isinstance(text, str) and text.strip()), None
    )
    if licence is None:
        raise UsageError(
            f"{where} says no licence; say by --licence under which the weights may be used, such as 'CC BY 4.0', or "
            f"--licence {UNKNOWN}."
        )
    from_whom = request.origin or (origin if isinstance(origin, str) and origin.strip() else "")
    return {LICENCE: " ".join(licence.split())[:200], ORIGIN: " ".join(from_whom.split())[:200] or name}
