"""The configuration of a MONAI bundle, read as plain values: nothing in it is run.

References (`@name#key`) are followed. Of expressions (`$...`) only those are worked out that are made of numbers,
texts, lists, texts that are joined and a choice by true or false; any other is refused where its value is needed.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vesal.errors import VesalError
from vesal.files import read_json
from vesal.planning.yaml_settings import read_yaml

_REFERENCE = re.compile(r"@([A-Za-z_][\w#]*(?:::[\w#]+)*)")
#: References within references, and parts within parts.
_DEEPEST = 40
#: Values within a value, its references followed, and letters of its texts: a bundle has some hundreds, and references
#: to references to lists, or to expressions that are worked out each time, can make more than any memory holds.
_MOST_PARTS = 100_000
#: More than any number in a bundle; what is far larger is no float.
_LARGEST = 1e15
#: More digits than the place in a list has.
_DIGITS = 9
#: What an entry may say of itself beside its arguments.
_ABOUT = ("_target_", "_desc_", "_disabled_")


def read_config(path: Path) -> BundleConfig:
    """A configuration file, .json, .yaml or .yml.

    Raises:
        VesalError: it cannot be read, or holds no mapping; UsageError is one.
    """
    found = read_json(path) if path.suffix == ".json" else read_yaml(path)
    if not isinstance(found, dict):
        raise VesalError(f"{path} is no configuration of a MONAI bundle; get the bundle again.")
    return BundleConfig(found, path)


@dataclass(frozen=True)
class Component:
    """An entry with a `_target_`: the name of a class of MONAI's, and its arguments as plain values."""

    name: str
    arguments: Mapping[str, Any]


@dataclass
class _Allowance:
    """How much one value may still become."""

    parts: int = _MOST_PARTS

    def take(self, count: int, path: Path) -> None:
        self.parts -= count
        if self.parts < 0:
            raise VesalError(f"{path} has a value of more than {_MOST_PARTS:,} parts; get the bundle again.")


@dataclass(frozen=True)
class BundleConfig:
    """What a configuration file says.

    Attributes:
        values: as it stands there.
        path: of the file, for messages.
    """

    values: Mapping[str, Any]
    path: Path

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def raw(self, name: str) -> Any:
        """An entry as it stands there, with no reference followed.

        Raises:
            VesalError: there is none of that name.
        """
        found: Any = self.values
        for key in name.replace("::", "#").split("#"):
            if isinstance(found, dict) and key in found:
                found = found[key]
            elif (
                isinstance(found, list) and key.isdecimal() and len(key) <= _DIGITS and int(key) < len(found)
            ):
                found = found[int(key)]
            else:
                raise VesalError(f"{self.path} has no {name}, which Vesal needs; get the bundle again.")
        return found

    def plain(self, value: Any) -> Any:
        """A value with its references followed and its expressions worked out.

        Raises:
            VesalError: it needs code to be run, refers to itself, or is too large.
        """
        return self._plain(value, 0, _Allowance())

    def _plain(self, value: Any, depth: int, allowed: _Allowance) -> Any:
        if depth > _DEEPEST:
            raise VesalError(f"{self.path} refers to itself, or is nested too deep; get the bundle again.")
        allowed.take(1, self.path)
        if isinstance(value, dict):
            allowed.take(sum(len(key) for key in value if isinstance(key, str)), self.path)
            return {key: self._plain(one, depth + 1, allowed) for key, one in value.items()}
        if isinstance(value, list):
            return [self._plain(one, depth + 1, allowed) for one in value]
        if not isinstance(value, str):
            return self._number(value)
        allowed.take(len(value), self.path)
        if not value or value[0] not in "@$%":
            return value
        if value[0] == "@" and (found := _REFERENCE.fullmatch(value)):
            return self._plain(self.raw(found.group(1)), depth + 1, allowed)
        if value[0] == "$":
            return self._worked_out(value[1:], depth, allowed)
        raise self.refusal(value)

    def _number(self, value: Any) -> float | None:
        """The same: a number, a truth or nothing, which are what is left of JSON; YAML has more."""
        if value is None or (isinstance(value, (int, float)) and abs(value) <= _LARGEST):
            return value
        raise VesalError(
            f"{self.path} has {shown(value)} where Vesal needs a text, a list or a number up to {_LARGEST:g}; get the "
            "bundle again."
        )

    def component(self, value: Any) -> Component | None:
        """An entry, or a reference to one, with a `_target_` of MONAI's; None of one that is disabled.

        Raises:
            VesalError: it is none, or its class is none of MONAI's.
        """
        for _ in range(_DEEPEST):
            if not (isinstance(value, str) and (found := _REFERENCE.fullmatch(value))):
                break
            value = self.raw(found.group(1))
        if not isinstance(value, dict) or not isinstance(value.get("_target_"), str):
            raise VesalError(
                f"{self.path} has {shown(value)} where Vesal needs an entry with a _target_ of MONAI's."
            )
        if value.get("_disabled_") in (True, "true"):
            return None
        target: str = value["_target_"]
        own = [key for key in value if key.startswith("_") and key not in _ABOUT]
        if own or ("." in target and not target.startswith("monai.")):
            what = f"{target} with {own[0]}" if own else target
            raise VesalError(
                f"{self.path} names {what[:100]}, which is not MONAI's own; Vesal runs no code of a bundle."
            )
        arguments = {key: one for key, one in value.items() if key not in _ABOUT}
        return Component(target.rpartition(".")[2], arguments)

    def refusal(self, expression: str) -> VesalError:
        """What is raised for an expression that is not worked out."""
        return VesalError(
            f"{self.path} needs the expression {expression[:120]} to be run, and Vesal runs nothing of a bundle; write "
            "its value in its place."
        )

    def _worked_out(self, expression: str, depth: int, allowed: _Allowance) -> Any:
        names: dict[str, str] = {}

        def named(found: re.Match[str]) -> str:
            names[name := f"reference_{len(names)}"] = found.group(1)
            return name

        try:
            tree = ast.parse(_REFERENCE.sub(named, expression).strip(), mode="eval").body
            return self._value(tree, names, depth, allowed)
        except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
            raise self.refusal(f"${expression}") from error

    def _value(self, node: ast.expr, names: Mapping[str, str], depth: int, allowed: _Allowance) -> Any:
        """Of a part of an expression; ValueError of one that is not worked out."""

        def of(part: ast.expr) -> Any:
            return self._value(part, names, depth, allowed)

        match node:
            case ast.Constant(value=str() as value):
                return value
            case ast.Constant(value=bool() | int() | float() | None as value):
                return self._number(value)
            case ast.List(elts=parts) | ast.Tuple(elts=parts):
                return [of(part) for part in parts]
            case ast.Name(id=name) if name in names:
                return self._plain(self.raw(names[name]), depth + 1, allowed)
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
                return self._number(-value)
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                joined = of(left), of(right)
                if all(type(one) is str for one in joined):
                    allowed.take(sum(map(len, joined)), self.path)
                    return "".join(joined)
            case ast.IfExp(test=test, body=body, orelse=otherwise):
                chosen = of(test)
                if type(chosen) is bool:
                    return of(body if chosen else otherwise)
        raise ValueError("not a literal")


def shown(value: Any) -> str:
    """A value as it stands in a file, for a message; what holds others is not written out, which may be endless.

    >>> shown("$1 + 1"), shown([[0] * 9] * 9)
    ('$1 + 1', 'a value of the type list')
    """
    return value[:80] if isinstance(value, str) else f"a value of the type {type(value).__name__}"
