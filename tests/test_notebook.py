"""The tour: committed clean, and running from top to bottom."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer.testing
from PIL import Image

from vesal.cli.app import app

TOUR = Path(__file__).parents[1] / "notebooks" / "tour.ipynb"

#: Cells that show pictures, and how many at least.
PICTURES = {
    "volumes": 1,
    "intensities": 1,
    "centre": 1,
    "truth": 1,
    "curves": 1,
    "held-out": 1,
    "panels": 1,
    "surfaces": 2,
}


@pytest.fixture(scope="module")
def tour(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The executed cells by id: five scans and two seconds of training, and the slider's cell without widgets."""
    for name in ("nbclient", "nbformat", "ipykernel", "ipywidgets"):
        pytest.importorskip(name, reason=f"{name} is not installed (pip install -e '.[dev]')")
    import nbclient
    import nbformat

    folder = tmp_path_factory.mktemp("tour")
    notebook = nbformat.read(TOUR, as_version=4)
    tags = [cell.metadata.get("tags", []) for cell in notebook.cells]
    (settings,) = [number for number, found in enumerate(tags) if "parameters" in found]
    smaller = f"CASES, BUDGET_S, FOLDER = 5, 2, Path({str(folder / 'made')!r})"
    notebook.cells.insert(settings + 1, nbformat.v4.new_code_cell(smaller, id="smaller"))
    (slider,) = [cell.source for cell in notebook.cells if cell.id == "slider"]
    without = f"import sys\n\nsys.modules['ipywidgets'] = None\n{slider}"
    notebook.cells.append(nbformat.v4.new_code_cell(without, id="slider-without-widgets"))
    with pytest.MonkeyPatch.context() as patch:
        # Nobody's own startup files and settings.
        patch.setenv("IPYTHONDIR", str(folder / "ipython"))
        patch.setenv("JUPYTER_CONFIG_DIR", str(folder / "config"))
        patch.setenv("JUPYTER_RUNTIME_DIR", str(folder / "runtime"))
        client = nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}})
        client.execute()
    widgets = notebook.metadata.get("widgets", {}).get("application/vnd.jupyter.widget-state+json", {})
    cells: dict[str, Any] = {cell.id: cell.get("outputs", []) for cell in notebook.cells}
    return cells | {"widgets": list(widgets.get("state", {}).values()), "folder": folder / "made"}


def pictures(outputs: list[Any]) -> list[np.ndarray]:
    """All PNGs of a cell, as gray arrays."""
    found = [output.get("data", {}).get("image/png") for output in outputs]
    decoded = [io.BytesIO(base64.b64decode(png)) for png in found if png]
    return [np.asarray(Image.open(png).convert("L")) for png in decoded]


def text(outputs: list[Any]) -> str:
    return "".join(output.get("text", "") for output in outputs)


@pytest.mark.parametrize(("cell", "count"), PICTURES.items())
def test_every_step_of_the_tour_shows_its_pictures(tour, cell, count):
    shown = pictures(tour[cell])
    assert len(shown) >= count
    for picture in shown:
        assert min(picture.shape) > 100
        assert picture.std() > 10, "the picture is blank"


def test_the_tour_tells_the_reasons_of_the_plan_and_scores_the_test_scans(tour):
    reasons, scores = (tour[cell][0]["data"]["text/markdown"] for cell in ("plan", "evaluate"))
    assert "Spacing" in reasons
    assert "heart-006" in scores
    assert "heart-007" in scores


def test_the_dice_by_hand_is_the_dice_of_the_evaluation(tour):
    (by_hand,) = re.findall(r"Dice (\d\.\d{3})", text(tour["dice"]))
    (row,) = [
        line for line in tour["evaluate"][0]["data"]["text/markdown"].splitlines() if "| heart-006" in line
    ]
    assert row.split("|")[3].strip() == by_hand


def test_the_slider_draws_a_slice_and_can_be_moved(tour):
    (view,) = [output["data"] for output in tour["slider"] if output["output_type"] == "display_data"]
    assert "application/vnd.jupyter.widget-view+json" in view
    models = {widget["model_name"]: widget["state"] for widget in tour["widgets"]}
    assert models["IntSliderModel"]["max"] == 100
    assert len(pictures(models["OutputModel"]["outputs"])) == 1


def test_without_widgets_some_slices_are_shown_instead_of_the_slider(tour):
    assert len(pictures(tour["slider-without-widgets"])) == 3


def test_the_tour_writes_its_model_and_its_surfaces_into_its_folder(tour):
    assert (tour["folder"] / "run" / "fold_0" / "model.vesal").is_file()
    assert (tour["folder"] / "heart.glb").read_bytes()[:4] == b"glTF"


def test_the_tour_is_committed_without_outputs_and_without_execution_counts():
    notebook = json.loads(TOUR.read_text(encoding="utf-8"))
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert "widgets" not in notebook["metadata"]
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [], cell["id"]
            assert cell["execution_count"] is None, cell["id"]
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len(set(ids)) == len(ids)


def test_the_command_lines_of_the_tour_are_those_of_the_program():
    cells = json.loads(TOUR.read_text(encoding="utf-8"))["cells"]
    prose = "".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    lines = re.findall(r"^vesal (\S+) ([^#\n]*)#", prose, flags=re.MULTILINE)
    assert [verb for verb, _ in lines] == ["inspect", "plan", "train", "predict", "evaluate"]
    for verb, rest in [*lines, ("overfit", ""), ("train", "--resume --fold")]:
        shown = typer.testing.CliRunner().invoke(app, [verb, "--help"])
        assert shown.exit_code == 0
        for option in re.findall(r"(?<!\S)--?[a-z]\S*", rest):
            assert option in shown.output, f"vesal {verb} has no {option}"
