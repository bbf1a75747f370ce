"""The record of what a training took over of a model, for the run folder, its report and the model file."""

from __future__ import annotations

from collections.abc import Mapping

from vesal.record import Record
from vesal.text import listed, plural

#: How a channel or class that the model does not know begins.
ZEROS, MEAN, CHANCE = "with zeros", "with the mean of the model's channels", "by chance"
_STARTS = (ZEROS, MEAN, CHANCE)


class Adaptation(Record):
    """What a training took over of a model, and what is new in it.

    Attributes:
        model: the file.
        weights_digest: of the model.
        channels: channel of these data -> the model's channel whose weights it begins with, or how else it begins.
        classes: class of these data -> the model's class whose weights it begins with, or how else it begins.
        left_channels, left_classes: of the model, which these data do not have.
        tensors: of the network.
        moved, adapted: how many of them are as they were, and how many were fitted to other channels or classes.
        anew: names of those that begin by chance.
        share: of the network's weights that come from the model, 0 to 1.
        frozen: names of those that are not trained.
        voters: networks of the model, of which the first was taken.
        seen: held-out cases here whose scans the model was trained on.
        scans_known: whether all scans that the model was trained on are known, so that `seen` is complete.
        notes: what else is to be known, a sentence each.
        licence, origin: of the model's weights, where they were stated.
    """

    model: str
    weights_digest: str
    channels: dict[str, str]
    classes: dict[str, str]
    left_channels: tuple[str, ...] = ()
    left_classes: tuple[str, ...] = ()
    tensors: int
    moved: int
    adapted: int
    anew: tuple[str, ...] = ()
    share: float
    frozen: tuple[str, ...] = ()
    voters: int = 1
    seen: tuple[str, ...] = ()
    scans_known: bool = True
    notes: tuple[str, ...] = ()
    licence: str = ""
    origin: str = ""

    @property
    def taken(self) -> str:
        """What is from the model, in a sentence."""
        fitted = f", {self.adapted} of them fitted to other channels or classes" if self.adapted else ""
        return (
            f"Taken from {self.model}: {self.moved + self.adapted} of {plural(self.tensors, 'tensor')}{fitted} "
            f"({self.share:.1%} of the weights); {_pairs(self.channels, 'channel')}; {_pairs(self.classes, 'class')}."
        )

    @property
    def new(self) -> str:
        """What is not, in a sentence."""
        parts = []
        for what, found in (("channel", self.channels), ("class", self.classes)):
            begun = {start: [name for name, source in found.items() if source == start] for start in _STARTS}
            parts += [
                f"{what} {listed(names, 6)} (begins {start})" for start, names in begun.items() if names
            ]
        if self.anew:
            parts.append(f"{plural(len(self.anew), 'tensor')} drawn by chance ({listed(self.anew, 3)})")
        left = [f"{what} {listed(names, 6)}" for what, names in
                (("channel", self.left_channels), ("class", self.left_classes)) if names]  # fmt: skip
        text = f"New: {'; '.join(parts)}." if parts else "New: nothing."
        return (
            f"{text} The model's {' and '.join(left)} {'is' if len(left) == 1 else 'are'} left."
            if left
            else text
        )

    @property
    def sentences(self) -> tuple[str, ...]:
        """All that is to be said of it."""
        found = [self.taken, self.new]
        if self.frozen:
            found.append(f"Frozen: {plural(len(self.frozen), 'tensor')} of the encoder.")
        if self.voters > 1:
            found.append(f"The model holds {self.voters} networks that vote; the first alone was taken.")
        return (*found, *self.notes)


def _pairs(found: Mapping[str, str], what: str) -> str:
    names = [
        name if name == source else f"{name} (from {source})"
        for name, source in found.items()
        if source not in _STARTS
    ]
    return f"{what} {listed(names, 6)}" if names else f"no {what} by name"
