"""Verbs as typer takes them: their options are derived from the requests and fields that they work on."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer

from vesal.workflow.requests.fields import Argument, Option

_MISSING = inspect.Parameter.empty


@dataclasses.dataclass(frozen=True)
class _Field:
    """A parameter of the command line.

    Attributes:
        name: of the request's field or of the verb's parameter.
        kind: its type.
        field: its `Option` or `Argument`.
        default: _MISSING where it must be given.
    """

    name: str
    kind: Any
    field: Option | Argument
    default: Any

    def parameter(self) -> inspect.Parameter:
        """For typer."""
        kind, default, field = self.kind, self.default, self.field
        info: Any
        if isinstance(field, Argument):
            info = typer.Argument(help=field.help, metavar=field.metavar)
        else:
            flags = field.flags or ("--" + self.name.replace("_", "-"),)
            info = typer.Option(*flags, help=field.help, metavar=field.metavar, min=field.min)
            if field.many:
                kind, default = list[str] | None, None
            elif field.parse is not None:
                kind = str if default is not None else str | None
            elif field.inverted:
                default = not default
        annotation = Annotated[kind, info]  # type: ignore[valid-type]
        return inspect.Parameter(
            self.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
        )

    def value(self, given: Any) -> Any:
        """What the verb gets of what the user wrote."""
        if isinstance(self.field, Argument) or given is None:
            return self.default if given is None else given
        if self.field.inverted:
            return not given
        if self.field.parse is not None:
            return self.field.parse(given)
        return tuple(map(get_args(self.kind)[0], given)) if self.field.many else given


def command(verb: Callable[..., None]) -> Callable[..., None]:
    """A function that typer can make a command of: a request among the verb's parameters becomes its fields."""
    groups = {
        one.name: (one.annotation, list(_fields(one.annotation)))
        if inspect.isclass(one.annotation)
        else (None, [_field(one.name, one.annotation, one.default)])
        for one in inspect.signature(verb, eval_str=True).parameters.values()
    }

    def run(**given: Any) -> None:
        values = {}
        for name, (request, fields) in groups.items():
            found = {one.name: one.value(given[one.name]) for one in fields}
            values[name] = found[name] if request is None else request(**found)
        verb(**values)

    run.__name__, run.__doc__ = verb.__name__, verb.__doc__
    parameters = [one.parameter() for _, fields in groups.values() for one in fields]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return run


def _fields(request: type) -> Iterator[_Field]:
    """Those that the command line has; others keep their defaults."""
    hints = get_type_hints(request, include_extras=True)
    for one in dataclasses.fields(request):
        if get_origin(hints[one.name]) is Annotated:
            default = _MISSING if one.default is dataclasses.MISSING else one.default
            yield _field(one.name, hints[one.name], default)


def _field(name: str, annotation: Any, default: Any) -> _Field:
    kind, field = get_args(annotation)
    return _Field(name, kind, field, default)
