"""What the API shows and accepts: Flask-RESTX models derived from the columns of the cqlengine Models and their marks.

Three words: a *Model* is a table (`store_manager.models`), a *representation* is what is answered for it, an *input*
is what callers may give. Both hold a Flask-RESTX model, which is the contract that Swagger documents, and what was
compiled from it once: a serialiser or a reader. No request is read here and no answer is made.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from operator import attrgetter
from typing import Any

from flask_restx import Model as RestxModel
from flask_restx import fields as restx

from store_manager.controllers.fields import ColumnField, field_class_of, widest_limits_of
from store_manager.controllers.validations import Validation
from store_manager.errors import FieldError, RequestInvalid
from store_manager.models.marks import Mark, mark_of

Fields = dict[str, restx.Raw]
Serialise = Callable[[Any], Any]


class Representation:
    """What is answered for one kind of thing; `version` reads what its ETag is made of."""

    def __init__(self, name: str, fields: Fields, *, version: str | None = None) -> None:
        self.model = RestxModel(name, fields)
        self.serialise: Serialise = _compile_serialiser(self.model)
        self.read_version: Callable[[Any], int] | None = attrgetter(version) if version else None


class Input:
    """The body that callers may give, with at least `least` of its fields."""

    whole = "body"

    def __init__(self, name: str, fields: Fields, *, least: int = 0) -> None:
        self.model = RestxModel(name, fields, strict=True)
        self._validation = Validation({**_validation_schema(self.model), "minProperties": least}, self.whole)
        self._read = _compile_reader(self.model)

    def read(self, given: Any) -> dict[str, Any]:
        """Return what was given, by attribute; raises RequestInvalid that names each wrong field."""
        errors = self._validation.find_errors(given)
        if errors:
            raise invalid(errors)
        return self._read(given)


class Query(Input):
    """The parameters that callers may give in the query; one that is absent reads as its default, or None."""

    whole = "query"

    def __init__(self, name: str, fields: Fields) -> None:
        super().__init__(name, fields)
        self._absent = {_attribute(key, field): field.default for key, field in fields.items()}

    def read(self, given: Any) -> dict[str, Any]:
        """Return a value for each parameter; raises RequestInvalid that names each wrong one."""
        return self._absent | super().read(given)


def invalid(errors: list[FieldError]) -> RequestInvalid:
    """Return the error that names all of these fields."""
    return RequestInvalid(f"{len(errors)} field{'s are' if len(errors) > 1 else ' is'} not valid", errors)


# From columns to fields


def shown_fields(
    model: Any, *, only: Collection[str] = (), leave: Collection[str] = (), static: bool | None = None, under: str = ""
) -> Fields:
    """Return the fields of all columns that are not hidden.

    `only` picks columns by name, `leave` leaves some out, `static` picks by their being static, and `under` is where
    the row is found in the thing that is serialised.
    """
    return {
        mark.name or name: _shown_field(name, column, mark, under)
        for name, column, mark in _columns_of(model)
        if not mark.hidden
        and (not only or name in only)
        and name not in leave
        and static in (None, bool(column.static))
    }


def _shown_field(name: str, column: Any, mark: Mark, under: str) -> ColumnField:
    source = f"{under}.{name}" if under else name
    return field_class_of(column)(
        attribute=source if source != (mark.name or name) else None,
        description=mark.description,
        example=mark.example,
        required=True,
        nullable=mark.forgotten or not (column.is_primary_key or _must_be_given(column, mark)),
    )


def fields_on_create(model: Any) -> Fields:
    """Return the fields that callers may give when they create the resource."""
    return {
        mark.name or name: given_field(column, required=_must_be_given(column, mark))
        for name, column, mark in _columns_of(model)
        if mark.settable_on_create
    }


def fields_on_change(model: Any) -> Fields:
    """Return the fields that callers may give when they change the resource: each may be left out."""
    return {
        mark.name or name: given_field(column, required=False, nullable=not _must_be_given(column, mark))
        for name, column, mark in _columns_of(model)
        if mark.settable_on_change
    }


def given_field(column: Any, *, required: bool = True, nullable: bool | None = None, **limits: Any) -> ColumnField:
    """Return the field by which callers give a value for this column; one that is not required may be null."""
    mark = mark_of(column)
    marked = {keyword: limit for keyword, limit in mark.limits.items() if keyword != "required"}
    return field_class_of(column)(
        attribute=column.column_name,
        description=mark.description,
        example=mark.example,
        limits={**widest_limits_of(column), **marked, **limits},
        required=required,
        nullable=not required if nullable is None else nullable,
    )


def _columns_of(model: Any) -> Iterator[tuple[str, Any, Mark]]:
    for name, column in model._columns.items():  # noqa: SLF001 - cqlengine has no public way
        yield name, column, mark_of(column)


def _must_be_given(column: Any, mark: Mark) -> bool:
    return bool(column.required or mark.limits.get("required"))


# What is compiled from them


def _attribute(key: str, field: restx.Raw) -> str:
    return str(field.attribute or key)


def _compile_serialiser(model: RestxModel) -> Serialise:
    plan = [(key, attrgetter(_attribute(key, field)), _converter(field)) for key, field in model.items()]

    def serialise(source: Any) -> dict[str, Any]:
        answer = {}
        for key, read, convert in plan:
            value = read(source)
            answer[key] = value if convert is None or value is None else convert(value)
        return answer

    return serialise


def _converter(field: restx.Raw) -> Serialise | None:
    if isinstance(field, restx.List):
        convert = _converter(field.container)
        return list if convert is None else lambda values: [convert(value) for value in values]
    if isinstance(field, restx.Nested):
        return _compile_serialiser(field.model)
    return type(field).answered_as if isinstance(field, ColumnField) else None


def _compile_reader(model: RestxModel) -> Callable[[dict[str, Any]], dict[str, Any]]:
    plan = {key: (_attribute(key, field), _reader(field)) for key, field in model.items()}

    def read(given: dict[str, Any]) -> dict[str, Any]:
        values = {}
        for key, value in given.items():
            attribute, convert = plan[key]
            values[attribute] = value if convert is None or value is None else convert(value)
        return values

    return read


def _reader(field: restx.Raw) -> Serialise | None:
    if isinstance(field, restx.List):
        convert = _reader(field.container)
        return None if convert is None else lambda values: [convert(value) for value in values]
    if isinstance(field, restx.Nested):
        return _compile_reader(field.model)
    return type(field).read_as if isinstance(field, ColumnField) else None


def _validation_schema(model: RestxModel) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {key: _field_schema(field) for key, field in model.items()},
        "required": [key for key, field in model.items() if field.required],
        "additionalProperties": False,
    }


def _field_schema(field: restx.Raw) -> dict[str, Any]:
    if isinstance(field, restx.List):
        return {
            "type": "array",
            "minItems": field.min_items or 0,
            "maxItems": field.max_items,
            "items": _field_schema(field.container),
        }
    if isinstance(field, restx.Nested):
        return _validation_schema(field.model)
    return field.validation()  # type: ignore[no-any-return]
