"""What `vesal export --to slurm` takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from vesal.workflow.requests.fields import Option


@dataclass(frozen=True)
class SlurmOptions:
    """A prediction of many scans as jobs of SLURM.

    Attributes:
        scans: folders or files, as the nodes see them, or their addresses.
        results: the folder of the results, as the nodes see it, or its address.
        shards: jobs of the array.
        ray_nodes: None for an array; else the nodes of one job on which Ray spreads the scans.
    """

    scans: Annotated[tuple[str, ...], Option("SLURM: scans to predict, or folders of them.", many=True)] = ()
    results: Annotated[str | None, Option("SLURM: folder for the results.")] = None
    shards: Annotated[int, Option("SLURM: jobs of the array, each of which predicts a part.", min=1)] = 16
    ray_nodes: Annotated[
        int | None, Option("SLURM: one job on so many nodes, with Ray on them, in place of an array.", min=1)
    ] = None
    cpus: Annotated[int, Option("SLURM: processors of each job, or node.", min=1)] = 8
    gpus: Annotated[int, Option("SLURM: GPUs of each job, or node.", min=0)] = 0
    memory: Annotated[str, Option("SLURM: memory of each job, or node.")] = "32G"
    time: Annotated[str, Option("SLURM: longest time of each job, as HH:MM:SS.")] = "04:00:00"
    partition: Annotated[str | None, Option("SLURM: partition.")] = None
