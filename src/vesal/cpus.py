"""How many CPUs this process may use: by its affinity, a container's quota and SLURM; and how its threads wait."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path

#: How often a thread of OpenMP looks for work before it sleeps: about ten microseconds. By itself GNU's looks a hundred
#: times as long, and takes a core that another process, or another thread of this one, could use.
_SPIN_COUNT = "3000"


def bound_spinning() -> None:
    """Let threads that wait for each other sleep soon, unless the user chose (OMP_WAIT_POLICY, GOMP_SPINCOUNT).

    It holds if it comes before torch is first imported.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", _SPIN_COUNT)


#: Set by `keep_to`.
_share: int | None = None


def keep_to(count: int) -> None:
    """From here on `cpu_count` gives at most so many: this process is one of several that share the CPUs."""
    global _share
    _share = count


@contextlib.contextmanager
def kept_to(count: int | None) -> Iterator[None]:
    """`keep_to` within the block; None takes what all of them share."""
    global _share
    before, _share = _share, count
    try:
        yield
    finally:
        _share = before


def cpu_count(root: Path = Path("/")) -> int:
    """The number of CPUs that this process may use, at least 1: the least of three.

    - those that it may run on (affinity, which cpusets and most job schedulers set);
    - the time that its control groups give it, rounded up (`docker run --cpus`, Kubernetes' limits);
    - those that SLURM gave the task, where it does not bind processes to them.

    Args:
        root: of the file system that the control groups are read from.

    >>> cpu_count() >= 1
    True
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    shares = [] if _share is None else [_share]
    return max(1, min([affinity, *_of_control_groups(root), *_of_slurm(), *shares]))


def _of_slurm() -> Iterator[int]:
    # Without --cpus-per-task the whole allocation on this node is meant.
    text = os.environ.get("SLURM_CPUS_PER_TASK") or os.environ.get("SLURM_CPUS_ON_NODE") or ""
    if text.isdigit() and int(text) > 0:
        yield int(text)


def control_groups(controller: str, root: Path) -> Iterator[tuple[int, Path]]:
    """Version and folder of each control group that this process is in, and of those around it.

    Args:
        controller: what the groups share out: 'cpu' or 'memory'.
        root: of the file system.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    mounted = root / "sys/fs/cgroup"
    for line in lines:
        number, controllers, path = [*line.split(":", 2), "", ""][:3]
        if number == "0" and not controllers:
            version, mounts = 2, [mounted, mounted / "unified"]
        elif controller in controllers.split(","):
            version, mounts = 1, [mounted / controllers, mounted / controller]
        else:
            continue
        for mount in dict.fromkeys(mounts):
            # Within a container its own group may be mounted as the root, and the path lead nowhere.
            yield from ((version, group) for group in _upwards(mount, path))


def _of_control_groups(root: Path) -> Iterator[int]:
    """The quotas of this process' groups and of those around them, in CPUs; none where there are none."""
    for version, group in control_groups("cpu", root):
        with contextlib.suppress(OSError, ValueError):
            if (quota := (_quota if version == 2 else _quota_of_version_1)(group)) is not None:
                yield quota


def _upwards(mount: Path, path: str) -> Iterator[Path]:
    group = mount / path.strip("/")
    while group != mount and mount in group.parents:
        yield group
        group = group.parent
    yield mount


def _quota(group: Path) -> int | None:
    """Of version 2: 'max 100000', or microseconds of processor time in each period of so many microseconds."""
    time, period = (group / "cpu.max").read_text().split()
    return None if time == "max" else _cpus(int(time), int(period))


def _quota_of_version_1(group: Path) -> int | None:
    """The same in two files; -1 is no quota."""
    time = int((group / "cpu.cfs_quota_us").read_text())
    return None if time < 0 else _cpus(time, int((group / "cpu.cfs_period_us").read_text()))


def _cpus(time: int, period: int) -> int | None:
    return max(1, math.ceil(time / period)) if time > 0 and period > 0 else None
