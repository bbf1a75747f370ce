"""Scans without a channel that the model was trained with: what it costs, and who may predict them.

A training with `augment.drop_channels` sees patches in which channels are absent, 0 throughout after the normalisation.
What it costs that a channel is missing is measured on the held-out cases, and travels in the model file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from vesal import memory_limit
from vesal.errors import DataError, UsageError, unknown_name
from vesal.infer.model_record import read_model_record
from vesal.planning.plan import Plan
from vesal.record import Record
from vesal.table import Cell, Table
from vesal.text import interval, listed, number, plural
from vesal.volume.volume import Volume

#: The setting that a model is trained with for this.
SETTING = "augment.drop_channels"

#: Far above any real model.
_MOST_CHANNELS, _LONGEST_NAME = 256, 1000

Number = Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)]
Name = Annotated[str, Field(max_length=_LONGEST_NAME)]


class ChannelCost(Record):
    """What the Dice of held-out cases, the mean over their classes, loses where a channel is missing.

    Attributes:
        dice: its mean without the channel.
        lost: with all channels, less that; of the cases that define both.
        low, high: the 95 % interval of what is lost; None for one case.
        cases: over which it was measured.
    """

    dice: Number
    lost: Number
    low: Number | None = None
    high: Number | None = None
    cases: Annotated[int, Field(ge=1, le=1 << 53)]

    @property
    def words(self) -> str:
        """What is lost, with its interval.

        >>> ChannelCost(dice=0.8, lost=0.012, low=0.004, high=0.021, cases=9).words
        '0.012 (0.004 to 0.021)'
        """
        return self._signed(1.0)

    @property
    def sentence(self) -> str:
        """What became of the Dice.

        >>> ChannelCost(dice=0.8, lost=-0.01, low=-0.03, high=0.02, cases=9).sentence
        'rose by 0.010 (-0.020 to 0.030)'
        """
        return f"rose by {self._signed(-1.0)}" if self.lost < 0 else f"fell by {self.words}"

    def _signed(self, sign: float) -> str:
        found = number(sign * self.lost)
        if self.low is None or self.high is None:
            return found
        low, high = sorted((sign * self.low, sign * self.high))
        return f"{found} ({interval(low, high)})"


class MissingChannels(Record):
    """What it costs that a channel is missing, one channel at a time.

    Attributes:
        version: of this format.
        channels: name -> its cost.
    """

    version: Literal[1] = 1
    channels: Annotated[dict[Name, ChannelCost], Field(max_length=_MOST_CHANNELS)]

    def sentence(self, missing: Sequence[str]) -> str:
        """What is known of the cost where these channels are missing."""
        found = [
            f"without {name} the Dice of {plural(cost.cases, 'held-out case')} {cost.sentence}"
            for name in missing
            if (cost := self.channels.get(name)) is not None
        ]
        if not found:
            return "what that costs was not measured"
        several = "; together they were not measured" if len(missing) > 1 else ""
        return "; ".join(found) + several

    def table(self) -> Table:
        """A row a channel."""
        rows = [
            (name, Cell(cost.dice, decimals=3), Cell(cost.lost, text=cost.words), cost.cases)
            for name, cost in self.channels.items()
        ]
        return Table.of(["missing", "Dice without it", "Dice lost (95% interval)", "cases"], rows)


def may_miss(recipe: Mapping[str, Any]) -> bool:
    """Whether a model of that recipe was trained for missing channels.

    >>> may_miss({"augment": {"drop_channels": 0.2}}), may_miss({"augment": {}}), may_miss({})
    (True, False, False)
    """
    augment = recipe.get("augment")
    if not isinstance(augment, dict) or augment.get("enabled") is False:
        return False
    share = augment.get("drop_channels")
    return isinstance(share, int | float) and share > 0


def channel_numbers(plan: Plan, names: Sequence[str]) -> tuple[int, ...]:
    """Places of the named channels in the plan, in order.

    Raises:
        UsageError: the plan has no channel of that name, or no other would be left.
    """
    known = {name.casefold(): place for place, name in enumerate(plan.channels)}
    for name in names:
        if name.casefold() not in known:
            raise unknown_name("channel", name, plan.channels)
    found = tuple(sorted({known[name.casefold()] for name in names}))
    if found and len(found) == len(plan.channels):
        raise UsageError(
            f"Without {listed(plan.channels, 6)} nothing is left of the scan; give one channel at least."
        )
    return found


def refuse_missing(channels: Sequence[str], recipes: Sequence[Mapping[str, Any]]) -> None:
    """Raise where a model was not trained for missing channels.

    Args:
        channels: names of those that are missing.
        recipes: of the networks that vote.

    Raises:
        UsageError: one was not; the message says how it would be.
    """
    if channels and not all(may_miss(recipe) for recipe in recipes):
        raise UsageError(
            f"The model was not trained for scans without {listed(channels, 6, ' or ')}, whose mask would be worth "
            f"nothing; give the channel, or train a model for it (vesal train ... --set {SETTING}=0.2)."
        )


def without_channels(
    volume: Volume, plan: Plan, wanted: Sequence[int], lacking: Sequence[int] = ()
) -> Volume:
    """The scan as the model takes it, with zeros in place of what is missing.

    Args:
        volume: (C, *spatial), of all channels or of those that are there.
        plan: of the model.
        wanted: places of the channels that count as missing, also where the scan has them.
        lacking: places of those that no file was found of; they count where the scan has them not.

    Raises:
        DataError: the channels are neither all nor those that are there.
    """
    count = len(plan.channels)
    missing = tuple(wanted) if volume.channels == count else tuple(sorted({*wanted, *lacking}))
    if not missing:
        return volume
    there = [place for place in range(count) if place not in missing]
    if volume.channels not in (count, len(there)):
        names, rest = ([plan.channels[place] for place in places] for places in (missing, there))
        raise DataError(
            f"the image has {plural(volume.channels, 'channel')} where {len(there)} are left without "
            f"{listed(names, 6)} ({listed(rest, 6)}); give these."
        )
    given = volume.array
    shape = (count, *given.shape[1:])
    # As files hold it, the last axis slowest, where it lies on the disk.
    array = memory_limit.array(shape, given.dtype, slow_axis=len(shape) - 1, zeros=True)
    for place, source in zip(there, there if volume.channels == count else range(len(there)), strict=True):
        rows = memory_limit.rows_at_once(shape[-1], 2 * given[source, ..., 0].nbytes)
        for first in range(0, shape[-1], rows):
            part = slice(first, first + rows)
            array[place, ..., part] = given[source, ..., part]
            memory_limit.breathe()
    return replace(volume, array=array, absent=missing)


def known_costs(value: object, path: str | Path = "The model") -> MissingChannels | None:
    """What a model file says of the costs, as JSON gave it; None where they were not measured.

    Raises:
        VesalError: it is not valid, or of a newer version.
    """
    return read_model_record(MissingChannels, value, "cost of missing channels", path)
