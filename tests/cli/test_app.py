"""The command line as a user types it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
import in_process

VERBS = (
    *("demo", "fetch", "phantom", "inspect", "convert", "plan", "list", "overfit", "train", "finetune"),
    "import",
    *("predict", "evaluate", "compare", "robustness", "report", "card", "export"),
)


def vesal(*words: object, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "vesal.cli", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, **options)  # type: ignore[call-overload, no-any-return]


@pytest.fixture(scope="module")
def run(trained_run: Path) -> Path:
    return trained_run


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb: str) -> None:
    done = vesal(verb, "--help")
    assert done.returncode == 0
    assert "Usage" in done.stdout


def test_help_and_import_load_no_torch_and_no_drawing() -> None:
    code = (
        "import sys, vesal, vesal.cli\n"
        "try:\n    sys.argv = ['vesal', '--help']; vesal.cli.main()\n"
        "except SystemExit as stop:\n    assert not stop.code, stop.code\n"
        "heavy = {'torch', 'matplotlib', 'scipy', 'skimage', 'nibabel', 'numpy'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "train" in done.stdout


def test_version_is_printed() -> None:
    import vesal as package

    assert vesal("--version").stdout.strip() == package.__version__


def test_all_public_verbs_can_be_imported() -> None:
    import vesal as package

    assert all(getattr(package, name) for name in package.__all__)
    with pytest.raises(AttributeError):
        _ = package.nonsense


def test_wrong_use_ends_with_2_and_one_sentence() -> None:
    for words in (
        ("train",),
        ("trian", "x"),
        ("train", "/nowhere", "-o", "/tmp/never-made", "--fold", "x"),
        ("train", "/nowhere", "-o", "/tmp/never-made", "--budget", "soon"),
        ("predict", "/nowhere.vesal", "scan.nii.gz", "-o", "/tmp/never-made"),
    ):
        done = vesal(*words)
        assert done.returncode == 2, (words, done.stderr)
        assert "Traceback" not in done.stderr
    assert not Path("/tmp/never-made").exists()


def test_a_traceback_is_shown_only_with_debug() -> None:
    assert (
        "Traceback"
        in vesal("predict", "/nowhere.vesal", "x.nii.gz", "-o", "/tmp/never-made", "--debug").stderr
    )


def test_a_failure_in_json_mode_leaves_standard_output_empty() -> None:
    done = vesal("inspect", "/nowhere", "--json")
    assert done.returncode == 2
    assert done.stdout == ""


def test_evaluating_a_run_and_two_folders_agrees(run: Path, tiny_data: Path, tmp_path: Path) -> None:
    whole = in_process.vesal("evaluate", run, "--json")
    assert whole.returncode == 0, whole.stderr
    truth = tmp_path / "truth"
    truth.mkdir()
    predictions = run / "fold_0" / "predictions"
    for path in predictions.glob("*.nii.gz"):
        (truth / path.name).write_bytes((tiny_data / "labelsTr" / path.name).read_bytes())
    folders = in_process.vesal(
        "evaluate",
        predictions,
        truth,
        "-o",
        tmp_path / "scores",
        "--labels",
        tiny_data / "dataset.json",
        "--json",
    )
    assert folders.returncode == 0, folders.stderr
    assert json.loads(whole.stdout)["summary"] == json.loads(folders.stdout)["summary"]
    assert {path.name for path in (tmp_path / "scores").iterdir()} == {
        "scores.json",
        "scores.csv",
        "scores.md",
        "vesal-outputs.jsonl",
    }


def test_a_missing_prediction_is_an_error_not_a_gap(run: Path, tiny_data: Path) -> None:
    done = in_process.vesal("evaluate", run / "fold_0" / "predictions", tiny_data / "labelsTr")
    assert done.returncode == 1
    assert "tiny_0" in done.stderr


def test_report_is_made_anew_and_a_folder_that_is_no_run_is_refused(run: Path, tmp_path: Path) -> None:
    (run / "report.html").unlink()
    assert in_process.vesal("report", run).returncode == 0
    assert (run / "report.html").is_file()
    done = in_process.vesal("report", tmp_path)
    assert done.returncode == 2
    assert "not a run" in done.stderr


# Of ASCII click believes that nobody means it.
@pytest.mark.parametrize(("encoding", "expected"), [("ascii", "心房".encode()), ("cp1252", rb"\u5fc3\u623f")])
def test_a_terminal_of_another_encoding_gets_every_name(
    tmp_path: Path, encoding: str, expected: bytes
) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "vesal.cli", "phantom", str(tmp_path / "心房"), "--cases", "1"],
        capture_output=True, env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert b"1 scans in " in done.stdout
    assert expected in done.stdout


def test_a_file_name_that_the_system_cannot_encode_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text(
        json.dumps(
            {
                "modality": {"0": "MRI"},
                "labels": {"0": "background", "1": "a"},
                "training": [{"image": "心.nii.gz", "label": "房.nii.gz"}],
            }
        ),
        encoding="utf-8",
    )
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "vesal.cli", "inspect", str(tmp_path)],
        capture_output=True, env={**os.environ, **plain}, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
    assert b"set PYTHONUTF8=1" in done.stderr
