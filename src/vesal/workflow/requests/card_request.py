"""What `vesal card` takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from vesal.workflow.requests.fields import Argument, Option, Request


@dataclass(frozen=True)
class CardRequest(Request):
    """Of which model a card is made, and what its file cannot know.

    Attributes:
        model: a model file or a run folder.
        out: where the card goes.
        name: of the model.
        licence: of the weights, an SPDX identifier where there is one.
        intended_use: for what, by whom.
        author: each by their name.
        data_source: where the training data came from, and under which licence.
        contact: for questions.
    """

    model: Annotated[Path, Argument("A .vesal file, or a run folder, of which more is known.")]
    out: Annotated[
        Path | None, Option("Folder for README.md and card.html: RUN/card, or ./card.", ("-o", "--out"))
    ] = None
    name: Annotated[str, Option("What the model is called.")] = ""
    licence: Annotated[str, Option("Licence of the weights, such as CC-BY-4.0.")] = ""
    intended_use: Annotated[str, Option("For what it is meant, and for whom.")] = ""
    author: Annotated[tuple[str, ...], Option("Who made it; may be repeated.", many=True)] = ()
    data_source: Annotated[str, Option("Where the training data came from, and under which licence.")] = ""
    contact: Annotated[str, Option("Where questions go.")] = ""

    @property
    def folder(self) -> Path:
        """For the files."""
        if self.out is not None:
            return self.out
        return self.model / "card" if self.model.is_dir() else Path("card")
