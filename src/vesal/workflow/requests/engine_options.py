"""Who works on many items: this process, or the workers of an engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from vesal.cpus import cpu_count
from vesal.errors import UsageError, unknown_name
from vesal.memory_limit import LEAST_BYTES, held_bytes, in_words, parse_size
from vesal.text import plural
from vesal.workflow.requests.fields import Option

if TYPE_CHECKING:
    from vesal.engine.outcome import Engine

ENGINES = ("local", "ray")


def parse_shard(text: str) -> tuple[int, int]:
    """A part of the cases such as '3/16', the third of sixteen.

    >>> parse_shard("3/16")
    (3, 16)

    Raises:
        UsageError: it is none.
    """
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise UsageError(f"--shard takes a part such as 3/16, from 1/16 to 16/16, not '{text}'.")
    return int(number), int(count)


@dataclass(frozen=True)
class EngineOptions:
    """Who works.

    Attributes:
        engine: one of ENGINES; None works in this process.
        workers: of the engine; None for as many as there are processors.
        worker_ram: bytes that each may take; None for no limit.
    """

    engine: Annotated[
        str | None,
        Option("Work by workers that may die: local (processes of this machine) or ray (a cluster)."),
    ] = None
    workers: Annotated[
        int | None, Option("How many workers; as many as there are processors when not given.", min=1)
    ] = None
    threads: Annotated[int, Option("Threads that each worker computes with.", min=1)] = 1
    gpus_per_worker: Annotated[
        float, Option("GPUs of each worker of ray; a fraction lets several share one.")
    ] = 0.0
    worker_ram: Annotated[
        int | None,
        Option("Memory of a worker, such as 4G; one that takes more is ended.", parse=parse_size),
    ] = None
    ray_address: Annotated[
        str | None,
        Option("Head of the cluster, or auto; without it ray is started on this machine alone."),
    ] = None

    def __post_init__(self) -> None:
        if self.engine is not None and self.engine not in ENGINES:
            raise unknown_name("engine", self.engine, ENGINES)
        gpus = self.gpus_per_worker
        if not (0 <= gpus <= 1 or (gpus > 1 and gpus.is_integer())):
            raise UsageError(
                f"--gpus-per-worker is a part of one GPU, or a whole number, 0 or more; not {gpus:g}."
            )
        if self.engine is None and (names := [name for name, there in self._given().items() if there]):
            raise UsageError(f"{names[0]} belongs to an engine; add --engine local or --engine ray.")
        if self.engine == "local" and (self.gpus_per_worker or self.ray_address is not None):
            name = "--ray-address" if self.ray_address is not None else "--gpus-per-worker"
            raise UsageError(f"{name} is for --engine ray, not local.")
        if self.worker_ram is not None and self.worker_ram < LEAST_BYTES:
            raise UsageError(
                f"--worker-ram {in_words(self.worker_ram)} is less than the program itself takes "
                f"({in_words(LEAST_BYTES)}), so that every worker would be ended; give it as 4G."
            )

    def _given(self) -> dict[str, bool]:
        """Which options are given that belong to an engine."""
        return {
            "--workers": self.workers is not None,
            "--threads": self.threads != 1,
            "--worker-ram": self.worker_ram is not None,
            "--gpus-per-worker": self.gpus_per_worker != 0,
            "--ray-address": self.ray_address is not None,
        }

    def share(self, max_ram: int | None, device: str = "cpu") -> int | None:
        """What each worker may take where all on this machine may take `max_ram` with this process; on a cluster, where
        nobody knows how many are on a machine, each may take that much.

        Raises:
            UsageError: that is less than the program itself takes.
        """
        if max_ram is None or self.engine != "local":
            return max_ram
        # Those that begin as copies of another process share its libraries.
        workers, held = self._workers(device), held_bytes()
        found, least = (max_ram - 2 * held) // workers, max(LEAST_BYTES, held)
        if found < least:
            raise UsageError(
                f"--max-ram {in_words(max_ram)} leaves {in_words(max(0, found))} for each of "
                f"{plural(workers, 'worker')}, less than the program itself takes ({in_words(least)}); allow more, or "
                "fewer --workers."
            )
        return found

    def _workers(self, device: str) -> int:
        """Of this machine."""
        # Each would hold the model in the memory of one GPU.
        return self.workers or (1 if device == "cuda" else max(1, cpu_count() // self.threads))

    def make(self, device: str = "cpu") -> Engine | None:
        """The engine for work on a type of device; None where there is none."""
        # Imported here: who works in one process needs none of it.
        if self.engine == "ray":
            from vesal.engine.ray_engine import RayEngine

            return RayEngine(
                self.ray_address, self.workers, self.threads, self.gpus_per_worker, self.worker_ram
            )
        if self.engine == "local":
            from vesal.engine.local_engine import LocalEngine

            return LocalEngine(self._workers(device), self.threads, self.worker_ram)
        return None


@dataclass(frozen=True)
class CohortOptions(EngineOptions):
    """Who predicts.

    Attributes:
        shard: (number from 1, of how many) of the cases; None for all.
    """

    engine: Annotated[
        str | None,
        Option(
            "Predict by workers that may die: local (processes of this machine) or ray (a cluster); "
            "OUT/cohort.csv says how each scan ended."
        ),
    ] = None
    shard: Annotated[
        tuple[int, int] | None,
        Option(
            "Predict this part of the scans, such as 3/16; the others are predicted elsewhere, into the same folder.",
            parse=parse_shard,
        ),
    ] = None

    def _given(self) -> dict[str, bool]:
        return super()._given() | {"--shard": self.shard is not None}
