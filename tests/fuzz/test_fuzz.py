"""Readers of files that somebody was sent: whatever is in them, they are read or refused, in little memory and time.

Hypothesis damages what can be read; `tests/fuzz/run_fuzz.py` searches longer, guided by the code that an input reaches,
and what it found stays in `found/`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from fuzz_targets import TARGETS, Target

from vesal.errors import VesalError

hypothesis = pytest.importorskip("hypothesis", reason="hypothesis is not installed (pip install -e '.[dev]')")
st = hypothesis.strategies

FOUND = Path(__file__).with_name("found")
#: Seconds that a file of a few thousand bytes may take, on a busy machine.
LONGEST_S = 20.0
EXAMPLES = 60

pytestmark = pytest.mark.filterwarnings("ignore")


@dataclass(frozen=True)
class Ready:
    """A target, its folder, and what can be read."""

    target: Target
    folder: Path
    seeds: Sequence[bytes]

    def feed(self, data: bytes) -> bool:
        """Whether data can be read; what is raised but a refusal gets out."""
        path = self.folder / self.target.file
        path.write_bytes(data)
        began = time.monotonic()
        try:
            self.target.read(path)
        except VesalError:
            return False
        finally:
            assert time.monotonic() - began < LONGEST_S
        return True


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Ready]:
    made: dict[str, Ready] = {}

    def get(name: str) -> Ready:
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            made[name] = Ready(TARGETS[name], folder, TARGETS[name].seeds(folder))
        return made[name]

    return get


#: A change of a file: where, as a share of it; what to do; with which bytes.
EDITS = st.lists(
    st.tuples(
        st.floats(0, 1, exclude_max=True),
        st.sampled_from(["flip", "set", "cut", "insert", "repeat", "drop", "digits"]),
        st.one_of(
            st.binary(min_size=1, max_size=8),
            st.sampled_from(
                [b"\xff" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0" * 8, b"-1", b"99999999999"]
            ),
        ),
    ),
    min_size=1,
    max_size=4,
)


def edited(data: bytes, edits: Sequence[tuple[float, str, bytes]]) -> bytes:
    for where, how, what in edits:
        at = int(where * len(data))
        if how == "flip" and data:
            data = data[:at] + bytes([data[at] ^ (1 << (what[0] & 7))]) + data[at + 1 :]
        elif how == "set":
            data = data[:at] + what + data[at + len(what) :]
        elif how == "cut":
            data = data[:at]
        elif how == "insert":
            data = data[:at] + what + data[at:]
        elif how == "repeat":
            data = data[:at] + data[at : at + 64] + data[at:]
        elif how == "drop":
            data = data[:at] + data[at + what[0] :]
        elif how == "digits":
            # The next number in a text becomes another.
            digit = next((place for place in range(at, len(data)) if data[place : place + 1].isdigit()), None)
            if digit is not None:
                data = data[:digit] + what + data[digit + 1 :]
    return data


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_damaged_is_read_or_refused(name: str, ready: Callable[[str], Ready]) -> None:
    target = ready(name)
    assert all(target.feed(seed) for seed in target.seeds)
    seeds = st.sampled_from(list(target.seeds))

    @hypothesis.settings(max_examples=EXAMPLES, derandomize=True, deadline=None, database=None)
    @hypothesis.given(seeds, EDITS)
    def attempt(seed: bytes, edits: Sequence[tuple[float, str, bytes]]) -> None:
        target.feed(edited(seed, edits))

    attempt()


@pytest.mark.parametrize(
    "path", sorted(FOUND.glob("*/*")), ids=lambda path: f"{path.parent.name}-{path.name}"
)
def test_what_a_search_found_is_read_or_refused(path: Path, ready: Callable[[str], Ready]) -> None:
    ready(path.parent.name).feed(path.read_bytes())
