"""Reads a request strictly: its JSON body, its query, the ids of its path, its precondition.

Everything that is wrong becomes a RequestInvalid that names it; nothing is guessed, clamped or ignored.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from decimal import Decimal, InvalidOperation
from itertools import islice
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid5

from flask import request
from werkzeug.exceptions import RequestEntityTooLarge

from store_manager.controllers.problems import BodySizeError, MediaTypeError
from store_manager.controllers.representations import Input, Query, invalid
from store_manager.controllers.validations import MOST_ERRORS, UUID_SENTENCE, is_uuid, printable
from store_manager.errors import FieldError
from store_manager.services.request_keys import RequestKey

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import timedelta

LEVEL_HEADER = "Consistency-Level"
LEVELS = ("ONE", "LOCAL_ONE", "TWO", "THREE", "QUORUM", "LOCAL_QUORUM", "ALL")
KEY_HEADER = "Idempotency-Key"
LONGEST_KEY = 255
KEY_NAMESPACE = UUID("5d9a1c9e-7f0b-4c39-9a53-0f3f7a6f6f11")
"""Ids that follow from keys are derived in this space; a new one would forget every key."""

_JSON_TYPES = ("application/json", "application/merge-patch+json")
_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,19}")
_MOST_DIGITS = 40
"""Longer whole numbers of a body are kept as decimals: every column's limit refuses either."""

_MOST_LEVELS = 32
"""How deep a body may be nested. Python's own limit depends on its version, and on what else is on its stack."""


def read_body(expected: Input, *, optional: bool) -> dict[str, Any]:
    """Return the body's values; an absent one reads as empty if it is optional."""
    text = _body_text()
    if optional and not text.strip():
        return expected.read({})
    if request.mimetype not in _JSON_TYPES:
        raise MediaTypeError(f"The body's media type is {printable(request.mimetype) or 'not declared'}.")
    return expected.read(_parse_json(text))


def read_query(expected: Query) -> dict[str, Any]:
    """Return the values of the query's parameters, defaults filled in."""
    repeated = _repeated(name for name, _ in request.args.items(multi=True))
    if repeated:
        raise invalid(repeated)
    fields = expected.model
    return expected.read({name: _typed(fields.get(name), text) for name, text in request.args.items()})


def read_id(name: str, text: str) -> UUID:
    """Return the id that stands in the path under this name."""
    if not is_uuid(text):
        raise invalid([FieldError(name, UUID_SENTENCE)])
    return UUID(text)


def read_if_match() -> int | None:
    """Return the version that `If-Match` asks for, None if it asks for none or for any.

    A tag that is none of ours is answered as -1, a version that nothing ever has. An empty header is refused: granian
    empties one with bytes beyond ASCII, and a precondition must never get lost.
    """
    header = request.headers.get("If-Match", "*").strip()
    if header == "*":
        return None
    tag = re.fullmatch(r'(W/)?"([\x21\x23-\x7e]*)"', header)
    if tag is None:
        raise invalid([FieldError("If-Match", 'must be one entity tag such as "17", or *')])
    is_ours = tag[1] is None and re.fullmatch(r"[0-9]{1,18}", tag[2])
    return int(tag[2]) if is_ours else -1


def read_key(body: dict[str, Any] | None, lease: timedelta) -> RequestKey | None:
    """Return the request's idempotency key, None if it has none.

    The id that it gives follows from the key, the method and the path; the digest from the body's values.
    """
    key = request.headers.get(KEY_HEADER)
    if key is None:
        return None
    if not re.fullmatch(rf"[\x21-\x7e]{{1,{LONGEST_KEY}}}", key):
        message = f"must be 1 to {LONGEST_KEY} printable characters without spaces"
        raise invalid([FieldError(KEY_HEADER, message)])
    digest = hashlib.sha256(json.dumps(body, sort_keys=True, default=str).encode()).hexdigest()
    return RequestKey(uuid5(KEY_NAMESPACE, f"{request.method} {request.path}\n{key}"), digest, lease)


def read_level(*, allowed: bool) -> str | None:
    """Return the consistency level that the request asks for, None if it asks for none."""
    level = request.headers.get(LEVEL_HEADER)
    if level is None:
        return None
    if not allowed:
        raise invalid([FieldError(LEVEL_HEADER, "can only be chosen for a GET of what is stored")])
    if level not in LEVELS:
        raise invalid([FieldError(LEVEL_HEADER, f"must be one of {', '.join(LEVELS)}")])
    return level


def _body_text() -> str:
    limit = request.max_content_length
    try:
        body = request.get_data(cache=False)
    except RequestEntityTooLarge as error:
        raise BodySizeError(f"The body is larger than {limit} bytes.") from error
    if request.content_length is None and limit is not None and len(body) >= limit:  # sent in chunks, and cut there
        raise BodySizeError(f"The body is larger than {limit} bytes.")
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise invalid([FieldError("body", "must be UTF-8")]) from error


def _parse_json(text: str) -> Any:
    try:
        value = json.loads(
            text,
            parse_float=_parse_decimal,
            parse_int=_parse_whole,
            object_pairs_hook=_object_of,
        )
    except RecursionError as error:
        raise invalid([_TOO_DEEP]) from error
    except json.JSONDecodeError as error:
        where = f"{error.msg} at line {error.lineno}, column {error.colno}"
        message = f"is not JSON: {where}" if text.strip() else "is missing"
        raise invalid([FieldError("body", message)]) from error
    if _is_too_deep(value):
        raise invalid([_TOO_DEEP])
    return value


_TOO_DEEP = FieldError("body", f"is nested too deeply: {_MOST_LEVELS} levels at most")


def _is_too_deep(value: Any) -> bool:
    level = [value]
    for _ in range(_MOST_LEVELS):
        level = [inner for one in level for inner in _inside(one)]
        if not level:
            return False
    return any(isinstance(one, dict | list) for one in level)


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _parse_decimal(text: str) -> Decimal | float:
    try:
        return Decimal(text)
    except InvalidOperation:
        return float("nan")  # as what JSON's NaN and Infinity are read: a float, which no field accepts


def _parse_whole(text: str) -> int | Decimal | float:
    return int(text) if len(text) <= _MOST_DIGITS else _parse_decimal(text)


def _object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise invalid(_repeated(name for name, _ in pairs))
    return members


def _repeated(names: Iterable[str]) -> list[FieldError]:
    times = Counter(names)
    repeated = islice((name for name, count in times.items() if count > 1), MOST_ERRORS)
    return [FieldError(printable(name), "is given more than once") for name in repeated]


def _typed(field: Any, text: str) -> Any:
    is_whole = field is not None and field.__schema_type__ == "integer"
    return int(text) if is_whole and _WHOLE_NUMBER.fullmatch(text) else text
