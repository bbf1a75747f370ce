"""What every engine promises, whatever becomes of items and workers."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from engine_work import Work

from vesal.engine.local_engine import LocalEngine
from vesal.engine.memory import forget_peak, memory_of, peak
from vesal.engine.outcome import Engine, Outcome
from vesal.errors import VesalError

#: Beside what Python and torch take themselves.
LIMIT = 900_000_000

Make = Callable[..., Engine]


@pytest.fixture(scope="module", params=["local", "ray"])
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    """Makes an engine."""
    if request.param == "local":
        yield lambda workers=2, **options: LocalEngine(workers, **options)
        return
    ray = pytest.importorskip("ray", reason="the extra cluster is not installed")
    from vesal.engine.ray_engine import RayEngine, connected

    with pytest.MonkeyPatch.context() as patch:
        # Where its workers find the work of these tests.
        patch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), *sys.path]))
        yield from _on_ray(ray, connected, RayEngine)


def _on_ray(ray: Any, connected: Any, engine: Any) -> Iterator[Make]:
    with connected(engine(workers=2)):
        yield lambda workers=2, **options: engine(workers=workers, **options)
    assert not ray.is_initialized()


def outcomes(engine: Engine, work: Work, items: list[str]) -> dict[str, Outcome]:
    """Item -> its outcome, each of which comes once."""
    found: dict[str, Outcome] = {}
    for outcome in engine.run(work, items):
        assert items[outcome.number] not in found
        found[items[outcome.number]] = outcome
    return found


def tries(folder: Path, name: str) -> int:
    return len((folder / f"tried-{name}").read_text())


def test_every_item_comes_to_an_end_whatever_becomes_of_the_others(make: Make, tmp_path: Path) -> None:
    items = [
        "a", "b is refused", "c meets a bug", "d", "e kills", "f kills once", "g is too large", "h cannot be sent",
        *(f"item{number}" for number in range(12)),
    ]  # fmt: skip
    found = outcomes(make(), Work(tmp_path), items)
    assert found.keys() == set(items)
    for item in ("a", "d", *items[8:]):
        assert (found[item].result, found[item].tries, found[item].failed) == (item.upper(), 1, False)
        assert tries(tmp_path, item) == 1
        assert found[item].worker.partition(":")[2].isdigit()
    assert found["b is refused"].reason == "it has no voxels; name another file."
    assert not found["b is refused"].hopeless
    assert found["c meets a bug"].reason == "KeyError: 'spacing'"
    assert "engine_work.py" in found["c meets a bug"].detail
    assert found["g is too large"].reason.startswith("the memory does not suffice")
    assert found["h cannot be sent"].failed
    lost, again = found["e kills"], found["f kills once"]
    assert lost.reason.startswith("its worker died 2 times")
    assert lost.reason.endswith("it is not tried again.")
    assert (lost.tries, tries(tmp_path, "e")) == (2, 2)
    assert (again.result, again.tries, tries(tmp_path, "f")) == ("F", 2, 2)


def test_a_worker_prepares_once_and_works_beside_others(make: Make, tmp_path: Path) -> None:
    items = [f"item{number} takes long" for number in range(6)]
    found = outcomes(make(), Work(tmp_path), items)
    workers = {outcome.worker for outcome in found.values()}
    assert len(workers) == 2
    assert {path.name for path in tmp_path.glob("began-*")} == {
        f"began-{name.partition(':')[2]}" for name in workers
    }


def test_what_takes_too_much_memory_is_ended_and_the_others_go_on(make: Make, tmp_path: Path) -> None:
    items = ["a", "b eats", *(f"item{number}" for number in range(6))]
    found = outcomes(make(most_bytes=LIMIT), Work(tmp_path), items)
    eaten = found.pop("b eats")
    assert "more than the 0.9 GB of memory" in eaten.reason
    assert eaten.peak_bytes >= LIMIT
    assert tries(tmp_path, "b") == 1
    assert not any(outcome.failed for outcome in found.values())


def test_a_failure_that_the_others_share_says_so(make: Make, tmp_path: Path) -> None:
    (found,) = make(1).run(Work(tmp_path), ["a finds a full disk"])
    assert found.hopeless


@pytest.mark.parametrize(
    ("begins", "kind", "words"),
    [
        ("refused", VesalError, "The model is damaged"),
        ("bug", RuntimeError, "nobody foresaw this"),
        ("dies", VesalError, "before they could begin"),
    ],
)
def test_work_that_cannot_begin_ends_it_all(
    make: Make, tmp_path: Path, begins: str, kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        list(make(1).run(Work(tmp_path, begins), ["a", "b"]))


def test_no_items_are_no_work(make: Make, tmp_path: Path) -> None:
    assert list(make().run(Work(tmp_path, "dies"), [])) == []


def test_who_stops_listening_leaves_no_worker_behind(make: Make, tmp_path: Path) -> None:
    engine = make()
    with closing(engine.run(Work(tmp_path), [f"item{number} takes long" for number in range(40)])) as running:
        pid = int(next(running).worker.partition(":")[2])
    deadline = time.monotonic() + 30
    while memory_of(pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_peak_is_that_of_the_last_item() -> None:
    if not peak():
        pytest.skip("the system does not say")
    held = bytearray(b"\1") * (200 << 20)
    high = peak()
    del held
    forget_peak()
    assert peak() < high - (100 << 20)
