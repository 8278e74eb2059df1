"""Flask-RESTX fields made from cqlengine columns: how a value is documented, answered, checked and read.

A field knows one value. Which columns a representation has is said in `store_manager.controllers.representations`;
how violations become sentences in `store_manager.controllers.validations`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, ClassVar
from uuid import UUID

from cassandra.cqlengine import columns
from flask_restx import fields

Convert = Callable[[Any], Any]

CENT = Decimal("0.01")


class ColumnField(fields.Raw):
    """A field with `limits` as in JSON Schema; `nullable` says that null may be answered, or given."""

    answered_as: ClassVar[Convert | None] = None
    """Turns a value that is not None into what orjson writes; None where orjson writes the value itself."""
    read_as: ClassVar[Convert | None] = None
    """Turns a checked JSON value into what the services take; None where they take it as it is."""

    def __init__(self, *, limits: dict[str, Any] | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.limits = limits or {}

    def format(self, value: Any) -> Any:
        """Return the value as `flask_restx.marshal` answers it: the same JSON as the compiled serialiser's."""
        convert = type(self).answered_as
        return value if convert is None else convert(value)

    def schema(self) -> dict[str, Any]:
        """Return the field as Swagger documents it."""
        return {**super().schema(), **self.limits, "x-nullable": self.nullable or None}

    def validation(self) -> dict[str, Any]:
        """Return the JSON schema that checks a given value."""
        rule = {"type": self.__schema_type__, "format": self.__schema_format__, **self.limits}
        if self.nullable:
            rule["type"] = [rule["type"], "null"]
            if "enum" in rule:
                rule["enum"] = [*rule["enum"], None]
        return {keyword: value for keyword, value in rule.items() if value is not None}


class TextField(ColumnField):
    """Text; not blank if it has a least length."""

    __schema_type__ = "string"

    def __init__(self, *, limits: dict[str, Any] | None = None, **options: Any) -> None:
        limits = dict(limits or {})
        if limits.get("minLength"):
            limits.setdefault("pattern", r"\S")
        super().__init__(limits=limits, **options)


class IdField(ColumnField):
    """A UUID in its canonical form."""

    __schema_type__ = "string"
    __schema_format__ = "uuid"
    __schema_example__ = "0f8fad5b-d9cb-469f-a165-70867728950e"
    read_as = UUID


class WholeField(ColumnField):
    """A whole number."""

    __schema_type__ = "integer"


class FlagField(ColumnField):
    """True or false."""

    __schema_type__ = "boolean"


def _write_money(value: Decimal) -> str:
    return f"{value:.2f}"


def _read_money(value: Any) -> Decimal:
    return Decimal(value).quantize(CENT) + 0  # the sum turns -0.00 into 0.00


class MoneyField(ColumnField):
    """An amount with two decimal places: answered as a string, given as a string or as a number of JSON."""

    __schema_type__ = "string"
    __schema_format__ = "decimal"
    __schema_example__ = "29.99"
    answered_as = _write_money
    read_as = _read_money

    def schema(self) -> dict[str, Any]:
        """Return the documented string; the limits of a number are told by the description, not by Swagger."""
        sign = "" if self.limits.get("minimum", -1) >= 0 else "-?"
        return {
            **super().schema(),
            "minimum": None,
            "maximum": None,
            "pattern": rf"^{sign}[0-9]{{1,13}}(\.[0-9]{{1,2}})?$",
        }

    def validation(self) -> dict[str, Any]:
        """Return the schema with the keyword `money`, which `store_manager.controllers.validations` defines."""
        return {"money": {**self.limits, "nullable": bool(self.nullable)}}


def _write_time(value: datetime) -> str:
    if value.tzinfo is not None:
        value = value.astimezone(UTC).replace(tzinfo=None)
    return value.isoformat(timespec="milliseconds") + "Z"


class TimeField(ColumnField):
    """A moment in UTC, to the millisecond."""

    __schema_type__ = "string"
    __schema_format__ = "date-time"
    __schema_example__ = "2026-11-22T12:00:00.000Z"
    answered_as = _write_time
    read_as: ClassVar[Convert | None] = datetime.fromisoformat


class DayField(ColumnField):
    """A day of the calendar."""

    __schema_type__ = "string"
    __schema_format__ = "date"
    __schema_example__ = "2026-11-22"
    answered_as = str
    read_as: ClassVar[Convert | None] = date.fromisoformat


_FIELD_OF: dict[type[columns.Column], type[ColumnField]] = {
    columns.UUID: IdField,
    columns.Text: TextField,
    columns.Integer: WholeField,
    columns.Decimal: MoneyField,
    columns.DateTime: TimeField,
    columns.Date: DayField,
    columns.Boolean: FlagField,
}
_BITS_OF: dict[type[columns.Column], int] = {
    columns.TinyInt: 8,
    columns.SmallInt: 16,
    columns.Integer: 32,
    columns.BigInt: 64,
}


def field_class_of(column: columns.Column) -> type[ColumnField]:
    """Return the field for a column's type; a type that has none raises TypeError."""
    for column_class in type(column).__mro__:
        if column_class in _FIELD_OF:
            return _FIELD_OF[column_class]
    raise TypeError(f"column {column.column_name!r}: no field is defined for {type(column).__name__}; hide the column")


def widest_limits_of(column: columns.Column) -> dict[str, Any]:
    """Return the limits that the column's type sets, so that what is accepted can always be stored."""
    bits = _BITS_OF.get(type(column))
    return {} if bits is None else {"minimum": -(2 ** (bits - 1)), "maximum": 2 ** (bits - 1) - 1}
