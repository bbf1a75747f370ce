"""What a person sets of the plan: every field that is not set is left to the planner's rules."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from vesal.planning.plan import Normalisation

Sizes = tuple[Annotated[int, Field(ge=1)], ...]


class PlanSettings(BaseModel):
    """Settings that override the planner's rules. Each field's description is also its help.

    >>> PlanSettings(patch=(64, 64)).features is None
    True
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    dimension: Literal[2, 3] | None = None
    """2 or 3, of the network."""
    spacing_mm: tuple[Annotated[float, Field(gt=0)], ...] | None = None
    """Along the network's axes, in millimetres; it is then not coarsened to suit the time."""
    patch: Sizes | None = None
    """Voxels along the network's axes (right, anterior, superior in 3D), enlarged to a multiple of the strides."""
    batch: Annotated[int, Field(ge=1)] | None = None
    """Patches in a forward pass."""
    networks: Annotated[int, Field(ge=1, le=16)] | None = None
    """Networks that are trained one after the other, each for an equal part of the run, and vote in one model."""
    features: Sizes | None = None
    """Features of every stage, the highest resolution first: as many stages as numbers, each at half the size."""
    width: Annotated[float, Field(gt=0)] = 1.0
    """Multiplies the features of all stages: 0.25 is a quarter as wide a network."""
    convolutions: Annotated[int, Field(ge=1)] | None = None
    """Convolutions (residual units) of a stage; 2 is the rule."""
    heads: Annotated[int, Field(ge=1)] | None = None
    """How many resolutions get a loss; 1 is no deep supervision."""
    norm: str | None = None
    """instance (the rule), batch, group or none."""
    activation: str | None = None
    """leaky_relu (the rule), relu, prelu or gelu."""
    pooling: bool = False
    """Go down by max pooling, in place of strided convolutions."""
    bias: bool = False
    """Convolutions keep a bias though a norm follows."""
    normalisation: Normalisation | None = None
    """How intensities are normalised, the same for every channel."""
    locate: bool | None = None
    """Two stages: a coarse network finds the labelled part of the scan, the planned one looks only there; unset, the
    planner chooses."""
    sigmoid: bool = False
    """One sigmoid a label and none for the background, as if each label were a region; regions always have them."""
    foreground_channel: bool = False
    """One more input channel: 1 where any channel of the scan is not 0."""
    memory_gb: Annotated[float, Field(gt=0)] | None = None
    """Memory for network and activations; 8 is the rule, on a GPU three quarters of what is free up to 24."""
    budget_s: Annotated[float, Field(gt=0)] | None = None
    """Seconds that the plan is made for, where steps or epochs set the length of the run or to plan for less."""
    rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Operations a second that training sustains, as a plan's reasons state them; it is then not measured."""
    measure: bool = True
    """Time a few steps on this device before a time budget is planned; false plans by constants, alike everywhere."""
