"""The public names of `import vesal`."""

from __future__ import annotations

import subprocess
import sys

import pytest

import vesal
from vesal.errors import UsageError


@pytest.mark.parametrize("name", [name for name in vesal.__all__ if name != "__version__"])
def test_every_public_name_can_be_called(name):
    assert callable(getattr(vesal, name))
    assert name in dir(vesal)


def test_packages_are_imported_beside_the_functions(tmp_path):
    import vesal.evaluate.score_folders
    import vesal.train.recipe

    with pytest.raises(UsageError, match="is not a run folder"):
        vesal.evaluate_run(str(tmp_path), None)
    request = vesal.TrainRequest(data=tmp_path / "nowhere", out=tmp_path / "run")
    for _ in range(2):  # The first call imports the package.
        with pytest.raises(UsageError, match="nowhere"):
            vesal.train_run(request)
    assert vesal.train.recipe.recipe_names()


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'cure'"):
        vesal.cure  # noqa: B018


def test_importing_vesal_loads_nothing_heavy():
    code = "import sys, vesal; print(sorted({'torch', 'numpy', 'scipy'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
