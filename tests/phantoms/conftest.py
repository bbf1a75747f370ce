"""Phantoms of every kind, drawn once."""

from __future__ import annotations

import pytest
from phantom_examples import SEEDS

from vesal.phantoms.registry import KINDS, make_phantom


@pytest.fixture(scope="session")
def drawn():
    """kind -> [(image (C, X, Y, Z), label (X, Y, Z), geometry)] at the typical size, in RAS-nearest axes."""
    found = {}
    for kind in KINDS:
        found[kind] = []
        for seed in SEEDS:
            volume, truth = make_phantom(kind, seed)
            turn = volume.geometry.turn_to_ras()
            found[kind].append((turn.apply(volume.array), turn.apply(truth.array), volume.geometry))
    return found
