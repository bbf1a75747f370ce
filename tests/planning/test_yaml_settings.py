"""Settings in YAML: values by name, or a sentence."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from vesal.errors import UsageError
from vesal.planning.yaml_settings import parse_yaml, read_yaml


def test_settings_are_read_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("lr: 0.1\nplan: &plan\n  patch: [8, 8]\nagain: *plan\n")
    assert read_yaml(tmp_path / "a.yaml") == {
        "lr": 0.1,
        "plan": {"patch": [8, 8]},
        "again": {"patch": [8, 8]},
    }


@pytest.mark.parametrize(
    "text", ["lr: 2001-99-99", "lr: !!int ''", "[" * 4000, "? [1, 2]\n: 3", "x: " + "a" * 200_000]
)
def test_what_the_library_stumbles_over_is_no_yaml(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(text)
    began = time.monotonic()
    with pytest.raises(UsageError, match="is not YAML; correct it"):
        read_yaml(tmp_path / "a.yaml")
    with pytest.raises(ValueError, match="no YAML"):
        parse_yaml(text)
    assert time.monotonic() - began < 5


def test_a_mapping_that_holds_itself_or_many_times_another_is_looked_at_once(tmp_path: Path) -> None:
    (tmp_path / "itself.yaml").write_text("a: &a {b: *a}\n")
    assert set(read_yaml(tmp_path / "itself.yaml")) == {"a"}
    levels = [f"l{n}: &l{n} {{x: *l{n - 1}, y: *l{n - 1}}}" for n in range(1, 40)]
    (tmp_path / "many.yaml").write_text("\n".join(["l0: &l0 {x: 1}", *levels]))
    assert len(read_yaml(tmp_path / "many.yaml")) == 40


@pytest.mark.parametrize("within", [False, True])
def test_mappings_that_are_merged_of_merged_ones_are_refused_before_they_fill_the_memory(
    within: bool, tmp_path: Path
) -> None:
    levels = [f"&l{n} {{<<: [{', '.join([f'*l{n - 1}'] * 10)}]}}" for n in range(1, 12)]
    lines = [f"- {one}" if within else f"l{n}: {one}" for n, one in enumerate(["&l0 {x: 1}", *levels])]
    (tmp_path / "a.yaml").write_text("\n".join(["all:", *lines] if within else lines))
    with pytest.raises(UsageError, match=rf"merges several mappings \(line {2 + within}\); write them out"):
        read_yaml(tmp_path / "a.yaml")
    (tmp_path / "a.yaml").write_text("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\n")
    assert read_yaml(tmp_path / "a.yaml")["b"] == {"x": 1, "y": 3}


def test_a_setting_that_is_given_twice_is_named_with_both_lines(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("lr: 0.1\nplan:\n  batch: 2\n  batch: 3\n")
    with pytest.raises(UsageError, match=r"gives batch twice \(lines 3 and 4\)"):
        read_yaml(tmp_path / "a.yaml")


@pytest.mark.parametrize("text", ["", "- 1\n- 2\n", "words"])
def test_a_file_without_settings_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(UsageError, match="holds no settings"):
        read_yaml(tmp_path / "a.yaml")
