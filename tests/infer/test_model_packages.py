"""Which model files vote, and what they have to agree on."""

from __future__ import annotations

from pathlib import Path

import pytest

from vesal.errors import UsageError
from vesal.infer.model_packages import model_files


def test_the_finished_folds_of_a_run_vote_and_where_there_are_none_those_that_are_there(
    tmp_path: Path,
) -> None:
    with pytest.raises(UsageError, match=r"no model\.vesal"):
        model_files(tmp_path)
    files = [tmp_path / f"fold_{number}" / "model.vesal" for number in range(3)]
    for file in files:
        file.parent.mkdir()
        file.touch()
    assert model_files(tmp_path) == files
    (files[1].parent / "finished.json").touch()
    assert model_files(tmp_path) == [files[1]]
    assert model_files(files[2]) == [files[2]]
    with pytest.raises(UsageError, match="There is no"):
        model_files(tmp_path / "absent")
