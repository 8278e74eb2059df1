"""Checks given values against a JSON schema and names every field that is wrong, each with one sentence.

The schemas come from representations (`store_manager.controllers.representations`). No rule of the trade stands here.
"""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal
from itertools import islice
from typing import TYPE_CHECKING, Any

from jsonschema import Draft202012Validator, FormatChecker, ValidationError, validators

from store_manager.errors import FieldError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MOST_ERRORS = 100
"""How many wrong fields one answer names."""

MOST_NAME = 64
"""How many characters of an unknown name are repeated in an answer."""

MOST_MONEY = 10**12
"""The largest amount of money, where a column sets no limit of its own."""

_UNWRITABLE = re.compile("[\x00\ud800-\udfff]")
_MONEY = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,20})?")
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s.]+")

UUID_SENTENCE = "must be a UUID such as 0f8fad5b-d9cb-469f-a165-70867728950e"


def is_uuid(value: object) -> bool:
    """Tell whether a text is a UUID in its canonical form; anything that is no text passes."""
    return not isinstance(value, str) or _UUID.fullmatch(value) is not None


def _is_day(value: object) -> bool:
    return not isinstance(value, str) or (_DAY.fullmatch(value) is not None and bool(date.fromisoformat(value)))


def _is_email(value: object) -> bool:
    return not isinstance(value, str) or _EMAIL.fullmatch(value) is not None


_FORMATS = FormatChecker(formats=())
_FORMATS.checks("uuid")(is_uuid)
_FORMATS.checks("date", raises=ValueError)(_is_day)
_FORMATS.checks("email")(_is_email)


def _is_text(_: Any, value: object) -> bool:
    return isinstance(value, str) and _UNWRITABLE.search(value) is None


def _check_money(_: Any, limits: dict[str, Any], value: Any, __: Any) -> Iterator[ValidationError]:
    if value is None and limits.get("nullable"):
        return
    if isinstance(value, str):
        amount = Decimal(value) if _MONEY.fullmatch(value) else None
    else:
        amount = Decimal(value) if isinstance(value, int | Decimal) and not isinstance(value, bool) else None
    if amount is None:
        yield ValidationError("must be a decimal amount, as a number or as a string such as 29.99")
    elif amount < limits.get("minimum", -MOST_MONEY):
        yield ValidationError(f"must be at least {limits.get('minimum', -MOST_MONEY)}")
    elif amount > limits.get("maximum", MOST_MONEY):
        yield ValidationError(f"must be at most {limits.get('maximum', MOST_MONEY)}")
    elif amount != round(amount, 2):
        yield ValidationError("must have at most two decimal places")


def _check_items(validator: Any, items: Any, value: Any, schema: Any) -> Iterator[ValidationError]:
    # A list that is too long is refused as such; looking at each of its items would only cost time.
    if isinstance(value, list) and len(value) > schema.get("maxItems", len(value)):
        return
    yield from Draft202012Validator.VALIDATORS["items"](validator, items, value, schema)


def _check_required(_: Any, names: list[str], value: Any, __: Any) -> Iterator[ValidationError]:
    if isinstance(value, dict):
        yield from (ValidationError("is required", path=[name]) for name in names if name not in value)


def _check_unknown(_: Any, __: Any, value: Any, schema: Any) -> Iterator[ValidationError]:
    if isinstance(value, dict):
        known = schema["properties"]
        message = f"is unknown; known are {', '.join(known) or 'none'}"
        yield from (ValidationError(message, path=[printable(name)]) for name in value if name not in known)


_OWN_KEYWORDS = {
    "money": _check_money,
    "items": _check_items,
    "required": _check_required,
    "additionalProperties": _check_unknown,
}
_Validator = validators.extend(
    Draft202012Validator,
    _OWN_KEYWORDS,
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine("string", _is_text),
)

_KINDS = {
    "string": "text",
    "integer": "a whole number",
    "boolean": "true or false",
    "object": "an object",
    "array": "a list",
}
_FORMAT_SENTENCES = {
    "uuid": UUID_SENTENCE,
    "date": "must be a day such as 2026-11-22",
    "email": "must be an e-mail address such as jd@example.ca",
}
_SENTENCES: dict[str, Callable[[Any], str]] = {
    "minLength": lambda limit: f"must have at least {limit} character{'s' if limit > 1 else ''}",
    "maxLength": lambda limit: f"must have at most {limit} characters",
    "minimum": lambda limit: f"must be at least {limit}",
    "maximum": lambda limit: f"must be at most {limit}",
    "minItems": lambda limit: f"must have at least {limit} item{'s' if limit > 1 else ''}",
    "maxItems": lambda limit: f"must have at most {limit} items",
    "minProperties": lambda _: "must name at least one field",
    "format": lambda name: _FORMAT_SENTENCES[name],
    "pattern": lambda pattern: "must not be blank" if pattern == r"\S" else f"must match {pattern}",
    "enum": lambda values: f"must be one of {', '.join(str(value) for value in values if value is not None)}",
}


class Validation:
    """A compiled schema, safe to share between threads; `whole` names the value itself, as in `body`."""

    def __init__(self, schema: dict[str, Any], whole: str) -> None:
        _Validator.check_schema(schema)
        self._validator = _Validator(schema, format_checker=_FORMATS)
        self._whole = whole

    def find_errors(self, value: Any) -> list[FieldError]:
        """Return what is wrong first with each field, at most `MOST_ERRORS`; nothing means that the value is valid."""
        first: dict[str, FieldError] = {}
        for error in islice(self._validator.iter_errors(value), MOST_ERRORS):
            param = _place(error) or self._whole
            first.setdefault(param, FieldError(param, _sentence(error)))
        return list(first.values())


def printable(text: str) -> str:
    """Return a text of the caller's, shortened and such that it can be written in an answer."""
    return _UNWRITABLE.sub("\N{REPLACEMENT CHARACTER}", text[:MOST_NAME])


def _sentence(error: ValidationError) -> str:
    if error.validator in _OWN_KEYWORDS:
        return str(error.message)
    if error.validator == "type":
        if isinstance(error.instance, str) and "string" in error.validator_value:
            return "must not contain null characters or lone surrogates"
        if error.schema.get("format") in _FORMAT_SENTENCES:
            return _FORMAT_SENTENCES[error.schema["format"]]
        kinds = [error.validator_value] if isinstance(error.validator_value, str) else error.validator_value
        return f"must be {' or '.join(_KINDS.get(kind, kind) for kind in kinds)}"
    return _SENTENCES[error.validator](error.validator_value)


def _place(error: ValidationError) -> str:
    place = ""
    for step in error.absolute_path:
        if isinstance(step, int):
            place += f"[{step}]"
        else:
            place += f".{step}" if place else step
    return place
