"""What `vesal export --to kaggle` takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from vesal.workflow.requests.fields import Option, Recipe, Settings, parse_fold


@dataclass(frozen=True)
class KernelOptions:
    """What to run on Kaggle.

    Attributes:
        fold: None for no fold.
        data: by the end of its path.
        title: 'Vesal RECIPE' when not given.
        install: 'vesal==1.0', a URL; by default the script contains the source of this Vesal.
    """

    recipe: Recipe = "auto"
    budget: Annotated[str | None, Option("Time to train there; the recipe's own when not given.")] = None
    fold: Annotated[
        int | str | None, Option("The fold that is held out and scored, or all.", parse=parse_fold)
    ] = 0
    user: Annotated[str | None, Option("Your name on Kaggle.")] = None
    title: Annotated[str | None, Option("Title of the kernel.")] = None
    datasets: Annotated[
        tuple[str, ...], Option("Attach this data set: OWNER/NAME.", ("--dataset",), many=True)
    ] = ()
    competitions: Annotated[
        tuple[str, ...], Option("Attach a competition's data.", ("--competition",), many=True)
    ] = ()
    data: Annotated[str | None, Option("Which folder is meant, where several are attached.")] = None
    fetch: Annotated[str | None, Option("Download there, such as msd-heart.")] = None
    earlier: Annotated[
        str | None, Option("Go on with the run of this kernel: OWNER/NAME.", ("--continue-from",))
    ] = None
    install: Annotated[str | None, Option("What pip installs there; else the script carries Vesal.")] = None
    accelerator: Annotated[str, Option("Kaggle's name of the GPU, or none.")] = "NvidiaTeslaT4"
    public: Annotated[bool, Option("Let everybody see the kernel; else it is yours alone.")] = False
    short: Annotated[bool, Option("Train a minute only, to see that all works.")] = False
    settings: Settings = ()
