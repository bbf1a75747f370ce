"""The notebooks: stored with small outputs of their own code, and running from top to bottom."""

from __future__ import annotations

import base64
import csv
import functools
import io
import json
import re
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer.testing
from PIL import Image

from vesal.cli.app import app

pytest.importorskip("ipykernel", reason="ipykernel is not installed (pip install -e '.[dev]')")
nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed (pip install -e '.[dev]')")
nbformat = pytest.importorskip("nbformat")

STORE = runpy.run_path(str(Path(__file__).parents[1] / "notebooks" / "store.py"))

#: Smaller settings for each notebook, run after the cell that is tagged `parameters`.
SMALLER = {
    "brain_tumour": "CASES, STEPS = 5, 4",
    "heart": "CASES, STEPS = 5, 4",
    "robustness": "CASES, STEPS, SEVERITIES, OWN = 3, 2, (3,), ('noise=0.03',)",
    "slices": "CASES, STEPS, OVERFIT_STEPS = 5, 2, 2",
    "tour": "CASES, BUDGET_S, STEPS = 5, 2, 8",
}

#: Seconds that a cell may take with these: many times what the slowest takes on two cores.
PATIENCE_S = 150

#: Cells that write into the notebook's folder, by notebook: a reader runs a cell more than once.
RUN_AGAIN = {
    "brain_tumour": ["write", "convert", "train"],
    "heart": ["data", "train", "evaluate"],
    "tour": ["scans", "train", "evaluate"],
}


@pytest.fixture(scope="module")
def execute(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    """A notebook by name, executed with its smaller settings; each is executed once."""

    @functools.cache
    def executed(name: str) -> Any:
        try:
            return attempt(name)
        except nbclient.exceptions.CellTimeoutError:
            # A message of Jupyter's gets lost now and then: the kernel is done, and its client waits. A cell of ours
            # that stands still does so again.
            return attempt(name)

    def attempt(name: str) -> Any:
        folder = tmp_path_factory.mktemp(name)
        notebook = STORE["read"](name)
        sources = {cell.id: cell.source for cell in notebook.cells}
        for cell in RUN_AGAIN.get(name, []):
            notebook.cells.append(nbformat.v4.new_code_cell(sources[cell], id=f"{cell}-again"))
        settings = SMALLER[name]
        STORE["execute"](notebook, folder, settings=settings, widgets=name == "tour", patience_s=PATIENCE_S)
        notebook.folder = folder
        return notebook

    return executed


def outputs(notebook: Any) -> dict[str, list[Any]]:
    """Of the code cells, by id."""
    return {cell.id: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}


def pictures(shown: list[Any]) -> list[np.ndarray]:
    """All pictures of a cell, as gray arrays."""
    found = [data for output in shown for kind, data in output.get("data", {}).items() if "image/" in kind]
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("L")) for data in found]


def text(shown: list[Any]) -> str:
    return "".join(
        output.get("text", "") or output.get("data", {}).get("text/markdown", "") for output in shown
    )


def test_every_notebook_is_tested():
    assert sorted(SMALLER) == STORE["names"]()


@pytest.mark.parametrize("name", STORE["names"]())
def test_a_notebook_is_stored_with_small_outputs_of_its_own_code(name):
    assert STORE["complaints"](STORE["read"](name)) == []


@pytest.mark.parametrize("name", STORE["names"]())
def test_a_notebook_is_stored_with_pictures_and_ids(name):
    notebook = STORE["read"](name)
    assert sum(len(pictures(shown)) for shown in outputs(notebook).values()) >= 5
    ids = [cell.id for cell in notebook.cells]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[a-z0-9-]+", id) for id in ids), "cells are named by what they do"


@pytest.mark.parametrize("name", STORE["names"]())
def test_a_notebook_runs_anew_and_every_cell_shows_what_is_stored(name, execute):
    stored, anew = outputs(STORE["read"](name)), outputs(execute(name))
    for cell, shown in stored.items():
        assert not any(output.get("name") == "stderr" for output in anew[cell]), f"{cell}: {text(anew[cell])}"
        assert bool(text(shown)) == bool(text(anew[cell])), cell
        if cell != "slider":  # a widget holds its picture in its state
            assert len(pictures(anew[cell])) >= min(1, len(pictures(shown))), cell
        for picture in pictures(anew[cell]):
            assert min(picture.shape) > 100, cell
            assert picture.std() > 5, f"{cell}: the picture is blank"


@pytest.mark.parametrize(("name", "cell"), [(name, cell) for name in RUN_AGAIN for cell in RUN_AGAIN[name]])
def test_a_cell_that_writes_may_be_run_again(name, cell, execute):
    cells = outputs(execute(name))
    assert text(cells[f"{cell}-again"]) == text(cells[cell])


def made(complaint: str) -> Any:
    """A notebook that is as it should be, but for one thing."""
    show = functools.partial(nbformat.v4.new_output, "stream")
    shown = {
        "path": [show(text="written to /home/someone/vesal")],
        "windows": [show(text=r"written to C:\Users\someone")],
        "address": [show(text="<generator object at 0x7f00aa>")],
        "stderr": [show(text="a warning", name="stderr")],
        "error": [nbformat.v4.new_output("error", ename="ValueError", evalue="no")],
        "widget": [nbformat.v4.new_output("display_data", {"application/vnd.jupyter.widget-view+json": {}})],
        "size": [show(text="x" * STORE["MOST_BYTES"])],
        "outputs": [],
    }
    cell = nbformat.v4.new_code_cell("1", id="one", outputs=shown.get(complaint, [show(text="1.5 mm / 2 s")]))
    notebook = nbformat.v4.new_notebook(cells=[cell])
    notebook.metadata["vesal"] = {"executed": STORE["digest"](notebook)}
    if complaint == "code":
        cell.source = "2"
    if complaint == "state":
        notebook.metadata["widgets"] = {}
    return notebook


@pytest.mark.parametrize(
    "complaint",
    ["path", "windows", "address", "stderr", "error", "widget", "size", "outputs", "code", "state"],
)
def test_what_a_stored_notebook_should_not_have_is_found(complaint):
    assert len(STORE["complaints"](made(complaint))) == 1
    assert STORE["complaints"](made("nothing")) == []


def test_outputs_are_made_small_and_free_of_the_machine(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (900, 1800, 3), dtype=np.uint8)
    Image.fromarray(noise).save(png := io.BytesIO(), "png")
    large = {"image/png": base64.b64encode(png.getvalue()).decode(), "text/plain": "<Figure at 0x7f00>"}
    lines = [f"{tmp_path}/vesal-tour-ab12_xyz/run\n", "2 scans\n"]
    cell = nbformat.v4.new_code_cell("1", id="one", metadata={"tags": ["a"], "execution": {"shell": "now"}})
    cell.outputs = [nbformat.v4.new_output("stream", text=line) for line in lines]
    cell.outputs.append(nbformat.v4.new_output("display_data", large))
    notebook = STORE["shrink"](nbformat.v4.new_notebook(cells=[cell]), tmp_path)
    said, shown = notebook.cells[0].outputs
    assert said.text == "vesal-tour/run\n2 scans\n"
    assert shown.data["text/plain"] == "<Figure>"
    assert pictures([shown])[0].shape == (320, 640)
    assert notebook.cells[0].metadata == {"tags": ["a"]}
    assert STORE["complaints"](notebook) == []


def test_a_notebook_that_fails_is_not_stored_and_says_which_cell(tmp_path, monkeypatch):
    monkeypatch.setitem(STORE["store"].__globals__, "HERE", tmp_path)
    cells = [
        nbformat.v4.new_code_cell("SIZE = 1", id="settings", metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell("SIZE / 0", id="divide"),
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "bad.ipynb")
    nbformat.write(nbformat.v4.new_notebook(cells=cells[1:]), tmp_path / "untagged.ipynb")
    before = (tmp_path / "bad.ipynb").read_bytes()
    assert "ZeroDivisionError" in STORE["store"]("bad")[0]
    assert (tmp_path / "bad.ipynb").read_bytes() == before
    assert STORE["store"]("untagged") == [
        "0 cells are tagged 'parameters'; tag the one that holds the settings"
    ]


def test_the_tour_tells_the_reasons_of_the_plan_and_scores_the_test_scans(execute):
    cells = outputs(execute("tour"))
    assert "Spacing" in text(cells["plan"])
    assert "heart-006" in text(cells["evaluate"])
    assert "heart-007" in text(cells["evaluate"])


def test_the_dice_by_hand_is_the_dice_of_the_evaluation(execute):
    cells = outputs(execute("tour"))
    (by_hand,) = re.findall(r"Dice (\d\.\d{3})", text(cells["dice"]))
    (row,) = [line for line in text(cells["evaluate"]).splitlines() if "| heart-006" in line]
    assert row.split("|")[3].strip() == by_hand


def test_the_slider_of_the_tour_draws_a_slice_and_can_be_moved(execute):
    pytest.importorskip("ipywidgets")
    tour = execute("tour")
    (view,) = [output.data for output in outputs(tour)["slider"] if output.output_type == "display_data"]
    assert "application/vnd.jupyter.widget-view+json" in view
    state = tour.metadata["widgets"]["application/vnd.jupyter.widget-state+json"]["state"]
    models = {widget["model_name"]: widget["state"] for widget in state.values()}
    assert models["IntSliderModel"]["max"] == 100
    assert len(pictures(models["OutputModel"]["outputs"])) == 1


def test_without_widgets_some_slices_are_shown_instead_of_the_slider():
    assert len(pictures(outputs(STORE["read"]("tour"))["slider"])) == 3


def test_the_tour_writes_its_model_and_its_surfaces_into_its_folder(execute):
    (folder,) = execute("tour").folder.glob("vesal-tour-*")
    assert (folder / "run" / "fold_0" / "model.vesal").is_file()
    assert (folder / "heart.glb").read_bytes()[:4] == b"glTF"


def test_the_brain_tumours_are_read_mapped_and_written_in_the_values_of_brats(execute):
    cells = outputs(execute("brain_tumour"))
    assert text(cells["mapping"]) == "before: [0 1 2 4]  after: [0 1 2 3]\n"
    assert '"enhancing tumour": 3' in text(cells["convert"])
    assert "voxels that differ from the truth: 0" in text(cells["paint"])
    (values,) = re.findall(r"values: \[([\d ]+)\]", text(cells["predict"]))
    assert set(values.split()) <= set("0124")


def test_the_loss_of_the_brain_tumours_by_hand_is_that_of_the_training(execute):
    cells = outputs(execute("brain_tumour"))
    (row,) = [line for line in text(cells["loss"]).splitlines() if "`dice_ce`" in line]
    assert text(cells["loss-by-hand"]).split("= ")[-1].strip() == row.split("|")[3].strip()


def test_the_notebooks_count_the_parameters_of_the_recipes(execute):
    assert "5 inputs, 3 outputs, 50,837,545 parameters" in text(outputs(execute("brain_tumour"))["recipe"])
    assert "22,581,217 parameters" in text(outputs(execute("heart"))["unet"])


def test_the_volumes_of_the_heart_are_those_of_the_inspection(execute):
    from vesal.data.fingerprint import fingerprint
    from vesal.layouts.registry import load_dataset

    heart = execute("heart")
    (data,) = heart.folder.glob("vesal-heart-*/Task02_Heart")
    counted = [case.voxels["left atrium"] for case in fingerprint(load_dataset(data)).cases]
    expected = (sum(counted) / len(counted), min(counted), max(counted))
    (row,) = [line for line in text(outputs(heart)["volumes"]).splitlines() if "| voxels" in line]
    assert [cell.strip() for cell in row.split("|")[2:5]] == [f"{value:,.2f}" for value in expected]


def rows_of(shown: list[Any]) -> list[list[str]]:
    """The cells of the rows of a table, its heading left out."""
    lines = [line for line in text(shown).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_the_slices_are_named_by_volumes_split_by_volumes_and_masked_by_255(execute):
    (folder,) = execute("slices").folder.glob("vesal-slices-*")
    parts = json.loads((folder / "run" / "folds.json").read_text())["parts"]
    volumes = [{name.split("_slice_")[0] for name in part} for part in parts]
    assert sum(len(part) for part in volumes) == len(set.union(*volumes)) == 5
    masks = (folder / "tumour-slices" / "labels").glob("lung-tumour-*_slice_*.png")
    assert {tuple(np.unique(np.asarray(Image.open(mask)))) for mask in masks} == {(0, 255)}


def test_only_the_losses_with_balance_or_overlap_mind_that_no_tumour_is_found(execute):
    rows = rows_of(outputs(execute("slices"))["loss"])
    costs = {row[0]: [float(cell) for cell in row[2:]] for row in rows}
    (ce, balanced, dice, both), right = costs["nothing anywhere"], costs["the tumour"]
    assert (ce < 0.3, balanced > 2.9, dice > 0.9) == (True, True, True)
    assert both == pytest.approx(balanced + dice, abs=0.002)
    assert all(min(found) == found[2] for found in zip(*costs.values(), strict=True))
    assert max(right) < 0.1


def test_the_slices_are_scored_as_the_volumes_that_they_make(execute):
    slices = execute("slices")
    (folder,) = slices.folder.glob("vesal-slices-*")
    row = rows_of(outputs(slices)["volumes"])[0]
    truth = sorted((folder / "all-slices" / "labelsTs").glob(f"{row[1]}_slice_*.png"))
    real, found = (
        np.stack([np.asarray(Image.open(mask)) > 0 for mask in masks])
        for masks in (truth, [folder / f"masks-{row[0]}" / mask.name for mask in truth])
    )
    assert len(truth) > 50
    assert row[2] == f"{2 * (real & found).sum() / (real.sum() + found.sum()):.3f}"


def test_the_drop_by_hand_is_that_of_the_robustness_notebook(execute):
    robustness = execute("robustness")
    (folder,) = robustness.folder.glob("vesal-robustness-*")
    first, *rows = rows_of(outputs(robustness)["drops"])
    assert first[0] == "(Dice of clean scans)"
    for column, name in enumerate(("bare", "usual", "artefacts"), start=1):
        with (folder / name / "robustness" / "robustness.csv").open(encoding="utf-8") as file:
            scores = list(csv.DictReader(file))
        clean = dice_of(scores, "clean")
        assert first[column] == f"{np.mean(list(clean.values())):.3f}"
        corrupted = dice_of(scores, "noise 3")
        lost = sum(clean[case] - corrupted[case] for case in clean)
        (row,) = [row for row in rows if row[0] == "noise 3"]
        assert float(row[column]) == pytest.approx(100 * lost / sum(clean.values()), abs=0.06)


def dice_of(scores: list[dict[str, str]], condition: str) -> dict[str, float]:
    """Of each case, the mean over the classes that are defined."""
    found: dict[str, list[float]] = {}
    for row in scores:
        if row["condition"] == condition and row["dice"]:
            found.setdefault(row["case"], []).append(float(row["dice"]))
    return {case: float(np.mean(values)) for case, values in found.items()}


@pytest.mark.parametrize("name", STORE["names"]())
def test_the_command_lines_of_the_notebooks_are_those_of_the_program(name):
    cells = STORE["read"](name).cells
    prose = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    lines = re.findall(r"^vesal (\S+) ([^#\n]*)", prose, flags=re.MULTILINE)
    lines += re.findall(r"`vesal (\S+) ([^`\n]*)`", prose)
    assert lines, "it says how to go on in a terminal"
    for verb, rest in lines:
        shown = typer.testing.CliRunner().invoke(app, [verb, "--help"])
        assert shown.exit_code == 0, verb
        for option in re.findall(r"(?<!\S)--?[a-z]\S*", rest):
            assert option in shown.output, f"vesal {verb} has no {option}"
