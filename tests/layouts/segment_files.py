"""Segmentations as 3D Slicer writes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import nrrd
import numpy as np

#: Name, value, layer.
Named = tuple[str, int, int]


def write_segments(path: Path, layers: np.ndarray, segments: Sequence[Named], *, old: bool = False) -> Path:
    """Layers (L, X, Y, Z), one of them without an axis of its own; `old` as before layers were written down."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header: dict[str, object] = {"space": "left-posterior-superior", "space origin": [0, 0, 0]}
    directions = np.diag([-1.0, -1.0, 1.5])
    if len(layers) > 1:
        header["kinds"] = ["list", "domain", "domain", "domain"]
        directions = np.vstack([np.full(3, np.nan), directions])
    else:
        layers = layers[0]
        header["kinds"] = ["domain"] * 3
    header["space directions"] = directions
    for number, (name, value, layer) in enumerate(segments):
        header[f"Segment{number}_ID"] = f"Segment_{number + 1}"
        header[f"Segment{number}_Name"] = name
        header[f"Segment{number}_Color"] = "1 0.5 0" if number == 0 else "0 0 1"
        if not old:
            header[f"Segment{number}_LabelValue"] = str(value)
            header[f"Segment{number}_Layer"] = str(layer)
    nrrd.write(str(path), layers, header)
    return path
