"""A bundle's configuration as plain values, of which nothing is run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vesal.errors import VesalError
from vesal.nn.monai_bundle.bundle_config import BundleConfig, read_config

VALUES: dict[str, Any] = {
    "root": ".",
    "options": {"fine": True, "sizes": [1, 2]},
    "sizes": "@options#sizes",
    "second": "@options::sizes::1",
    "file": "$@root + '/models/' + @name",
    "name": "$'a.pt' if @options#fine else 'b.pt'",
    "spacing": "$[1.5, -2] if @options#fine else 3",
    "own": "@own",
    "step": {"_target_": "monai.transforms.Spacingd", "pixdim": "@spacing"},
    "alias": "@step",
}


def config(**more: Any) -> BundleConfig:
    return BundleConfig(VALUES | more, Path("inference.json"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sizes", [1, 2]),
        ("second", 2),
        ("file", "./models/a.pt"),
        ("spacing", [1.5, -2]),
        ("options", {"fine": True, "sizes": [1, 2]}),
    ],
)
def test_references_are_followed_and_literals_worked_out(name: str, value: Any) -> None:
    assert config().plain(config().raw(name)) == value


@pytest.mark.parametrize(
    "expression",
    [
        "$__import__('os').mkdir('ran')",
        "$().__class__",
        "$[x for x in (1, 2)]",
        "$10 ** 10 ** 10",
        "$'a' * 10 ** 9",
        "$1 + 2",
        "$import os",
        "$" + "(" * 3000,
        "$lambda x: x",
        "$f'{1}'",
        "$@options",
        "%other.json#x",
        "@no such",
        "$1 if 'a' else 2",
    ],
)
def test_what_is_no_literal_is_refused_and_never_run(
    expression: str, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    if expression == "$@options":
        assert config().plain(expression) == VALUES["options"]
        return
    with pytest.raises(VesalError, match="Vesal runs nothing of a bundle"):
        config().plain(expression)
    assert list(tmp_path.iterdir()) == []


def test_what_refers_to_itself_or_to_nothing_is_refused() -> None:
    with pytest.raises(VesalError, match="refers to itself"):
        config().plain("@own")
    with pytest.raises(VesalError, match="has no options#none"):
        config().plain("@options#none")
    with pytest.raises(VesalError, match="has no options#sizes#9"):
        config().plain("@options#sizes#" + "9" * 5000)


@pytest.mark.parametrize(
    "level", [["@{}"] * 10, "$" + " + ".join(["@{}"] * 10), {str(number): "@{}" for number in range(10)}]
)
def test_values_that_grow_by_references_are_refused_before_they_fill_the_memory(level: Any) -> None:
    def below(name: str) -> Any:
        if isinstance(level, str):
            return level.replace("{}", name)
        return dict.fromkeys(level, f"@{name}") if isinstance(level, dict) else [f"@{name}"] * len(level)

    values = {f"level_{depth}": below(f"level_{depth + 1}") for depth in range(15)}
    with pytest.raises(VesalError, match="more than 100,000 parts"):
        config(**values, level_15="some text").plain("@level_0")
    nested: Any = 1
    for _ in range(100):
        nested = [nested]
    with pytest.raises(VesalError, match="nested too deep"):
        config().plain(nested)


@pytest.mark.parametrize("text", ["$[" + "1," * 400 + "]", "$'" + "x" * 900 + "'", "x" * 900])
def test_a_text_counts_wherever_it_is_referred_to(text: str) -> None:
    assert config(text=text).plain(["@text"] * 3)
    with pytest.raises(VesalError, match="more than 100,000 parts"):
        config(text=text).plain(["@text"] * 1000)


@pytest.mark.parametrize(
    "number", [10**400, float("nan"), float("inf"), "$1e999", "$-1e999", "$0x" + "f" * 5000, {1, 2}, b"x"]
)
def test_what_is_no_number_that_a_network_or_a_window_has_is_refused(number: Any) -> None:
    with pytest.raises(VesalError, match=r"a number up to 1e\+15; get the bundle again"):
        config().plain([number])


def test_a_component_is_one_of_monais_own() -> None:
    found = config().component("@alias")
    assert found is not None
    assert (found.name, found.arguments) == ("Spacingd", {"pixdim": "@spacing"})
    assert config().component({"_target_": "Spacingd", "_disabled_": True}) is None
    for entry in (
        {"_target_": "scripts.net.Mine"},
        {"_target_": "UNet", "_requires_": "$1"},
        {"_target_": "os.system"},
    ):
        with pytest.raises(VesalError, match="Vesal runs no code of a bundle"):
            config().component(entry)
    with pytest.raises(VesalError, match="needs an entry with a _target_"):
        config().component("@sizes")


def test_what_yaml_repeats_without_end_is_not_written_out(tmp_path: Path) -> None:
    file, levels = tmp_path / "inference.yaml", ["l0: &l0 [1]"]
    levels += [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 12)]
    file.write_text("\n".join(levels))
    with pytest.raises(VesalError, match="has a value of the type list where Vesal needs an entry"):
        read_config(file).component("@l11")


def test_yaml_is_read_without_its_tags(tmp_path: Path) -> None:
    file = tmp_path / "inference.yaml"
    file.write_text("root: .\nsizes: [1, 2]\n")
    assert read_config(file).raw("sizes") == [1, 2]
    file.write_text(f"root: !!python/object/apply:os.mkdir ['{tmp_path / 'ran'}']\n")
    with pytest.raises(VesalError, match="is not YAML"):
        read_config(file)
    assert not (tmp_path / "ran").exists()
    (tmp_path / "inference.json").write_text("[1]")
    with pytest.raises(VesalError, match="no configuration of a MONAI bundle"):
        read_config(tmp_path / "inference.json")
