"""Draw docs/architecture.svg: the floors of the package, its rooms and who imports whom.

    python docs/draw_architecture.py

The floors are read from import-linter's contract in pyproject.toml, the imports from the source. An arrow is left out
where a chain of other arrows implies it, and to the single files on the ground, which every room may use.
tests/test_house.py asks for a new picture when the rooms or their imports have changed.
"""

from __future__ import annotations

import ast
import hashlib
import json
import tomllib
from pathlib import Path

Graph = dict[str, set[str]]

#: Where a room stands on its floor; one that is not named here stands at 0.
COLUMNS = {
    **{"train": -2.4, "evaluate": 0.0, "audit": 2.9, "infer": -0.8, "augment": -3.2, "nn": -0.8},
    **{
        "preprocessing": -2.2,
        "convert": 2.0,
        "planning": -1.8,
        "layouts": 2.0,
        "download": 4.4,
        "phantoms": 5.6,
    },
    **{"metrics": 0.2, "data": 1.4, "volume": 2.6},
}


def modules(root: Path) -> dict[str, Path]:
    """Dotted name of every module of the package -> its file."""
    found = {}
    for path in sorted((root / "src").rglob("*.py")):
        parts = path.relative_to(root / "src").with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(root: Path) -> Graph:
    """Module -> modules of the package that it imports, within functions and for type checkers too."""
    known = modules(root)
    graph: Graph = {}
    for module, path in known.items():
        used = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                names = (f"{node.module}.{alias.name}" for alias in node.names)
                used |= {name if name in known else node.module for name in names}
            elif isinstance(node, ast.Import):
                used |= {alias.name for alias in node.names}
        graph[module] = (used & set(known)) - {module}
    return graph


def rooms(root: Path) -> Graph:
    """Room -> rooms that it imports; a room is a name below `vesal`, without the package itself."""
    found: Graph = {}
    for module, used in imports(root).items():
        if "." in module and not module.endswith("__main__"):
            room = module.split(".")[1]
            below = {name.split(".")[1] for name in used if "." in name}
            found[room] = found.get(room, set()) | below - {room}
    return found


def floors(root: Path) -> list[list[str]]:
    """Names of the rooms of each floor, the highest first."""
    settings = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    layers = settings["tool"]["importlinter"]["contracts"][0]["layers"]
    return [[name.strip().removeprefix("vesal.") for name in layer.split("|")] for layer in layers]


def direct(graph: Graph) -> Graph:
    """Without imports that a way over other rooms implies."""

    def reached(start: str) -> set[str]:
        return graph[start].union(*(reached(room) for room in graph[start]))

    return {room: used - set().union(*(reached(other) for other in used)) for room, used in graph.items()}


def ground(root: Path) -> set[str]:
    """The single files beside the rooms."""
    return {path.stem for path in (root / "src" / "vesal").glob("*.py")}


def arrows(root: Path) -> list[tuple[str, str]]:
    """(room, room that it imports), as they are drawn."""
    graph, files = direct(rooms(root)), ground(root)
    return sorted((room, below) for room in graph for below in graph[room] - files)


def digest(root: Path) -> str:
    """What is drawn, in one word."""
    return hashlib.sha256(json.dumps([floors(root), arrows(root)]).encode()).hexdigest()[:16]


def draw(root: Path, path: Path) -> None:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    matplotlib.rcParams["svg.hashsalt"] = "vesal"
    layers, files = floors(root), ground(root)
    places = {}
    for floor, names in enumerate(layers):
        for number, name in enumerate(names):
            spread = 2.0 * (number - (len(names) - 1) / 2) if name in files else 0.0
            places[name] = (COLUMNS.get(name, spread), -floor)
    figure, axes = pyplot.subplots(figsize=(9, 0.62 * len(layers)), layout="constrained")
    for floor in range(len(layers)):
        axes.axhspan(
            -floor - 0.36,
            -floor + 0.36,
            color="#e3e8ef" if set(layers[floor]) <= files else "#f2f4f7",
            zorder=0,
        )
    texts = {}
    for name, (x, y) in places.items():
        box = {"boxstyle": "round,pad=0.4", "fc": "white", "ec": "#1f4e79", "lw": 1.1}
        texts[name] = axes.text(x, y, name, ha="center", va="center", fontsize=10, bbox=box, zorder=2)
    axes.set(xlim=(-4.2, 6.2), ylim=(0.5 - len(layers), 0.5))
    axes.axis("off")
    figure.canvas.draw()  # Boxes have their sizes from here on, and arrows end at them.
    for room, below in arrows(root):
        ends = {"patchA": texts[room].get_bbox_patch(), "patchB": texts[below].get_bbox_patch()}
        style = {"arrowstyle": "-|>", "color": "#7a869a", "lw": 0.9, "shrinkA": 0, "shrinkB": 1}
        axes.annotate("", places[below], places[room], arrowprops=style | ends, zorder=1)
    figure.savefig(path, metadata={"Date": None, "Description": f"rooms {digest(root)}"})


if __name__ == "__main__":
    here = Path(__file__).resolve().parents[1]
    draw(here, here / "docs" / "architecture.svg")
