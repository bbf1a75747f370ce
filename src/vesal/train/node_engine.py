"""An engine whose workers are the machines of a training: the first process of each takes its share of the items.

While the first process of all sets a run up, the others wait for what comes of it (`serve_node`). What it would do on
all processors of its machine, item by item, it does so together with the first process of every other machine: item N
is the one's of machine N modulo their number. The results are put in the items' order, so that they are those of one
process. What nobody foresaw ends the process that met it, with its own traceback, and with it all others.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vesal.cpus import kept_to
from vesal.engine.outcome import Outcome, Prepare, at_once
from vesal.errors import UsageError
from vesal.files import temporary_name, write_text
from vesal.processes import each_on_cores
from vesal.text import plural
from vesal.train.distributed import Team

#: Seconds within which a node must see a file that another one wrote: network folders remember for up to a minute what
#: was not there.
_SEEN_WITHIN_S = 60.0


@dataclass(frozen=True)
class NodeEngine:
    """The nodes of a team, seen from its first process; each works with all of its processors."""

    team: Team
    threads: int = 1

    @property
    def described(self) -> str:
        """The workers in a few words."""
        return plural(len(self.team.nodes), "node")

    def run(self, prepare: Prepare, items: Sequence[Any]) -> Generator[Outcome, None, None]:
        """As `Engine.run`; of the other nodes the outcomes come at the end.

        Raises:
            PeerLostError: a process of another node ended.
        """
        work = _NodeWork(prepare, items)
        self.team.share(work)
        for number, result in work.of_node(0, len(self.team.nodes)):
            yield Outcome(number, result)
        for rank in self.team.nodes[1:]:
            for number, result in self.team.receive(rank):
                yield Outcome(number, result)


def serve_node(team: Team) -> Any:
    """In every process but the first: do this node's share of its work, until it shares out what came of all."""
    found: Any
    while isinstance(found := team.share(None), _NodeWork):
        if team.rank in team.nodes:
            with kept_to(None):
                own = list(found.of_node(team.nodes.index(team.rank), len(team.nodes)))
            team.send(own)
    return found


@dataclass(frozen=True)
class _NodeWork:
    """What the first process asks all nodes to do together."""

    prepare: Prepare
    items: Sequence[Any]

    def of_node(self, node: int, nodes: int) -> Generator[tuple[int, Any], None, None]:
        """(number of the item, its result) of each item of a node, in whatever order."""
        own = self.items[node::nodes]
        if not own:
            return
        with closing(each_on_cores(self.prepare(), own, workers=at_once(self.prepare, own))) as results:
            for number, result in results:
                yield node + number * nodes, result


def engine_of_nodes(
    team: Team, folder: Path, files: Sequence[Path], tell: Callable[[str], None]
) -> NodeEngine | None:
    """The engine of a team's nodes; None where there is one node, or where not all of them see the files.

    Args:
        team: of which this is the first process.
        folder: that every node writes into and trains from; made if absent.
        files: that are read.
        tell: hears which node does not see which file.

    Raises:
        UsageError: a node does not see the folder.
    """
    if len(team.nodes) == 1:
        return None
    # Of a name of its own: other runs may be finding out the same of a cache that they share.
    engine, mark = NodeEngine(team), temporary_name(folder.absolute())
    write_text(mark, "")
    try:
        outcomes = engine.run(_Sight(mark, files), range(len(team.nodes)))
        first, *others = [outcome.result for outcome in outcomes]
    finally:
        mark.unlink(missing_ok=True)
    for host, marked, missing in others:
        if not marked:
            raise UsageError(
                f"{host} does not see {folder.absolute()}, where the prepared scans are kept that every node trains "
                "from; take a folder that all nodes share (-o, or --cache)."
            )
        if unseen := sorted(missing - first[2]):
            tell(
                f"{host} does not see {unseen[0]}, so the first node alone reads and prepares the scans; "
                "it takes less time where all nodes see them."
            )
            return None
    return engine


@dataclass(frozen=True)
class _Sight:
    """Finds out what a node sees: (its name, whether the mark is there, which of the files cannot be read)."""

    mark: Path
    files: Sequence[Path]

    def __call__(self) -> Callable[[int], tuple[str, bool, frozenset[Path]]]:
        return self._look

    def _look(self, _node: int) -> tuple[str, bool, frozenset[Path]]:
        deadline = time.monotonic() + _SEEN_WITHIN_S
        while not (marked := os.path.exists(self.mark)) and time.monotonic() < deadline:
            time.sleep(0.2)
        # False too where the node may not look, or its network folder fails.
        missing = frozenset(path for path in self.files if not os.access(path, os.R_OK))
        return socket.gethostname(), marked, missing
