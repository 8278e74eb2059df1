"""What the API may do with a column, said next to the column.

A column without a mark is answered and cannot be set. `writable` columns are accepted when a resource is created and
when it is changed, `on_create` only when it is created, `hidden` columns are never shown. The representations
(`store_manager.controllers.representations`) are derived from these marks; nothing here knows of Flask.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeVar

from cassandra.cqlengine import columns

ColumnT = TypeVar("ColumnT", bound=columns.Column)


@dataclass(frozen=True)
class Mark:
    """How a column appears in the API: `name` where it differs from the column's, `limits` as in JSON Schema.

    A `forgotten` one must be given, and is answered as null once its resource was deleted.
    """

    settable_on_create: bool = False
    settable_on_change: bool = False
    hidden: bool = False
    forgotten: bool = False
    name: str | None = None
    description: str | None = None
    example: Any = None
    limits: dict[str, Any] = field(default_factory=dict)


SHOWN = Mark()


def mark_of(column: columns.Column) -> Mark:
    """Return the column's mark; a column without one is shown and cannot be set."""
    mark = getattr(column, "api_mark", SHOWN)
    return mark if isinstance(mark, Mark) else SHOWN


def names_on_change(model: Any) -> tuple[str, ...]:
    """Return the names of the columns that callers may set when they change the resource."""
    columns_of_model = model._columns.items()  # noqa: SLF001 - cqlengine has no public way
    return tuple(name for name, column in columns_of_model if mark_of(column).settable_on_change)


def _marked(column: ColumnT, mark: Mark) -> ColumnT:
    column.api_mark = mark
    return column


def writable(
    column: ColumnT, description: str, *, example: Any = None, forgotten: bool = False, **limits: Any
) -> ColumnT:
    """Let callers set this column when they create the resource and when they change it."""
    mark = Mark(
        settable_on_create=True,
        settable_on_change=True,
        forgotten=forgotten,
        description=description,
        example=example,
        limits=limits,
    )
    return _marked(column, mark)


def on_create(column: ColumnT, description: str, *, example: Any = None, **limits: Any) -> ColumnT:
    """Let callers set this column when they create the resource, never later."""
    return _marked(column, Mark(settable_on_create=True, description=description, example=example, limits=limits))


def shown(column: ColumnT, description: str, *, name: str | None = None, example: Any = None) -> ColumnT:
    """Describe a column that is answered but never set by callers, under another name if one is given."""
    return _marked(column, Mark(name=name, description=description, example=example))


def hidden(column: ColumnT) -> ColumnT:
    """Keep this column out of every answer."""
    return _marked(column, Mark(hidden=True))
