"""Errors as callers see them: one `application/problem+json` (RFC 9457) for each, with a stable code.

This is the one place that gives the store's errors their HTTP status. No error is raised here.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import orjson
import structlog
from flask import Response, g
from flask_restx import fields as restx
from werkzeug.exceptions import HTTPException

from store_manager.controllers.fields import IdField, TextField, WholeField
from store_manager.controllers.representations import Representation
from store_manager.errors import (
    FieldError,
    OutcomeUnknown,
    ReferenceInvalid,
    RequestInvalid,
    StoreError,
)

MEDIA_TYPE = "application/problem+json"

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class ProblemType:
    """One kind of problem: its status, its title, what a caller can do, and after how long to try again."""

    status: int
    title: str
    remedy: str
    retry_after_s: int | None = None


PROBLEM_TYPES: dict[str, ProblemType] = {
    "REQUEST_INVALID": ProblemType(
        400, "The request is not valid", "Correct every field that `errors` names; nothing was changed."
    ),
    "NOT_FOUND": ProblemType(404, "There is no such thing", "Check the id in the path."),
    "PRODUCT_NOT_FOUND": ProblemType(404, "There is no such product", "Check the id; a retired product is not shown."),
    "STOCK_NOT_FOUND": ProblemType(
        404, "The stock of this product was never counted", "Set its first count with `PUT /stocks/{product_id}`."
    ),
    "ORDER_NOT_FOUND": ProblemType(404, "There is no such order", "Check the id."),
    "USER_NOT_FOUND": ProblemType(404, "There is no such user", "Check the id; a deleted user is not shown."),
    "ROUTE_NOT_FOUND": ProblemType(404, "There is no such address", "Every address is listed in `/swagger.json`."),
    "METHOD_NOT_ALLOWED": ProblemType(
        405, "The address does not know this method", "The header `Allow` names the methods that it knows."
    ),
    "CONFLICT": ProblemType(409, "The request conflicts with the present state", "Read the resource and decide anew."),
    "SKU_TAKEN": ProblemType(409, "Another product has this SKU", "Choose another SKU, or retire the other product."),
    "EMAIL_TAKEN": ProblemType(409, "Another user has this e-mail address", "Choose another address."),
    "STOCK_SHORT": ProblemType(
        409,
        "There is not enough in stock",
        "`lines` names each short product with what was requested and what is available; nothing is reserved.",
    ),
    "COUNT_BELOW_RESERVED": ProblemType(
        409, "Open orders hold more than this would leave", "Fulfil or cancel orders first; nothing was changed."
    ),
    "ORDER_STATE_CONFLICT": ProblemType(
        409, "The order's status does not allow this", "Read the order: its `status` says what is possible."
    ),
    "IDEMPOTENCY_KEY_IN_USE": ProblemType(
        409, "The first call under this key is still at work", "Send the same call again a little later.", 2
    ),
    "IDEMPOTENCY_KEY_SPENT": ProblemType(
        409, "The first call under this key was given up", "Nothing came of it; use a new key."
    ),
    "VERSION_STALE": ProblemType(
        412, "The resource has changed since it was read", "Read it again and use the new `ETag` in `If-Match`."
    ),
    "BODY_TOO_LARGE": ProblemType(413, "The body is too large", "Send less in one request."),
    "MEDIA_TYPE_UNSUPPORTED": ProblemType(
        415, "The body is not declared as JSON", "Send the header `Content-Type: application/json`."
    ),
    "REFERENCE_INVALID": ProblemType(
        422,
        "The request names something that does not exist",
        "`errors` names each product or user that does not exist or is no longer sold.",
    ),
    "IDEMPOTENCY_KEY_REUSED": ProblemType(
        422, "The key was used for another request", "Use a new key for a new request."
    ),
    "HTTP_ERROR": ProblemType(400, "The request can't be understood", "Correct the request."),
    "INTERNAL_ERROR": ProblemType(
        500, "The store failed", "It is a fault of the store; tell its operators the `request_id`."
    ),
    "DATABASE_UNAVAILABLE": ProblemType(
        503, "The database does not answer", "Nothing was changed; try again.", retry_after_s=2
    ),
    "CONTENDED": ProblemType(
        503, "Too many others change the same thing", "Nothing was changed; try again.", retry_after_s=1
    ),
    "ORDER_GIVEN_UP": ProblemType(
        503,
        "The order took too long",
        "Nothing was ordered and nothing stays reserved; try again, under a new key if it had one.",
        retry_after_s=2,
    ),
    "OUTCOME_UNKNOWN": ProblemType(
        503,
        "It is not known whether the change happened",
        "It may have happened, now or a little later: read the resource (`location`, if given) before trying again.",
        retry_after_s=2,
    ),
    "SCHEMA_BEHIND": ProblemType(
        503, "The database's schema is older than the store", "Operators: run `store-manager schema sync`.", 10
    ),
}
"""Every problem that is ever answered, by its code, in the order of their statuses."""

_CODE_OF_STATUS = {
    404: "ROUTE_NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    413: "BODY_TOO_LARGE",
    415: "MEDIA_TYPE_UNSUPPORTED",
}

FIELD_ERROR = Representation(
    "FieldError",
    {
        "param": TextField(required=True, description="The field, parameter or header", example="price"),
        "message": TextField(required=True, description="What is wrong with it", example="must be at least 0"),
    },
)
SHORT_LINE = Representation(
    "ShortLine",
    {
        "line": WholeField(required=True, description="Which line of the order, from 0", example=0),
        "product_id": IdField(required=True, description="The short product"),
        "requested": WholeField(required=True, description="Units the order asks for", example=3),
        "available": WholeField(required=True, description="Units that can be sold", example=1),
    },
)
PROBLEM = Representation(
    "Problem",
    {
        "type": TextField(
            required=True, description="Where this kind is explained", example="/problems/REQUEST_INVALID"
        ),
        "title": TextField(required=True, description="What kind of problem it is", example="The request is not valid"),
        "status": WholeField(required=True, description="The HTTP status", example=400),
        "detail": TextField(required=True, description="What happened this time", example="1 field is not valid"),
        "code": TextField(required=True, description="Names the kind; never changes", example="REQUEST_INVALID"),
        "errors": restx.List(restx.Nested(FIELD_ERROR.model), description="Every field that is wrong"),
        "lines": restx.List(restx.Nested(SHORT_LINE.model), description="Of STOCK_SHORT: every short product"),
        "replicas_required": WholeField(
            description="Of 503, while nodes are away: copies of the data that have to answer", example=2
        ),
        "replicas_alive": WholeField(description="And those that can be reached", example=1),
        "request_id": TextField(description="Finds the request in the logs", example="5f0e6c2b9d1f4b0c8f6a"),
    },
)


class HttpError(StoreError):
    """A problem of HTTP itself, which no service knows of."""

    code = "HTTP_ERROR"


class MediaTypeError(HttpError):
    """The body is not declared as JSON."""

    code = "MEDIA_TYPE_UNSUPPORTED"


class BodySizeError(HttpError):
    """The body is larger than the store reads."""

    code = "BODY_TOO_LARGE"


def handle(error: Exception) -> Response | HTTPException:
    """Return the answer for any exception; one that nobody expected is logged here, once, and kept from callers."""
    if isinstance(error, StoreError):
        return _of_store_error(error)
    if isinstance(error, HTTPException):
        return _of_http_exception(error)
    log.error("request_failed", exc_info=error)
    return _answer("INTERNAL_ERROR", "The store could not answer; the failure was logged.")


def _of_store_error(error: StoreError) -> Response:
    extra = dict(error.details)
    if isinstance(error, RequestInvalid | ReferenceInvalid):
        extra["errors"] = [_field(field) for field in error.fields]
    response = _answer(error.code, error.message, extra)
    if isinstance(error, OutcomeUnknown) and "location" in error.details:
        response.headers["Location"] = error.details["location"]
    return response


def _field(error: FieldError) -> dict[str, str]:
    return {"param": error.param, "message": error.message}


def _of_http_exception(error: HTTPException) -> Response | HTTPException:
    if error.code is None or error.code < HTTPStatus.BAD_REQUEST:
        return error
    if error.code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error("request_failed", exc_info=error)
        return _answer("INTERNAL_ERROR", "The store could not answer; the failure was logged.")
    code = _CODE_OF_STATUS.get(error.code, HttpError.code)
    detail = error.description if code == HttpError.code else f"{PROBLEM_TYPES[code].title}."
    response = _answer(code, detail or error.name, status=error.code)
    for name, value in error.get_headers():
        if name in ("Allow", "Retry-After"):
            response.headers[name] = value
    return response


def _answer(code: str, detail: str, extra: dict[str, Any] | None = None, *, status: int | None = None) -> Response:
    kind = PROBLEM_TYPES[code]
    body: dict[str, Any] = {
        "type": f"/problems/{code}",
        "title": kind.title,
        "status": status or kind.status,
        "detail": detail,
        "code": code,
    }
    body = body | {name: value for name, value in (extra or {}).items() if name not in body}
    body["request_id"] = g.get("request_id")
    response = Response(orjson.dumps(body, default=str), status=body["status"], mimetype=MEDIA_TYPE)
    if kind.retry_after_s is not None:
        response.headers["Retry-After"] = str(kind.retry_after_s)
    return response


def describe_as_markdown() -> str:
    """Return the reference of all codes, as it stands in `docs/reference/errors.md`."""
    rows = [
        f"| `{code}` | {kind.status} | {kind.title} | {kind.remedy} | {kind.retry_after_s or ''} |"
        for code, kind in PROBLEM_TYPES.items()
    ]
    return "\n".join([_INTRODUCTION, *rows, ""])


_INTRODUCTION = """\
# Errors

Made from `store_manager/controllers/problems.py` by its `describe_as_markdown`; a test holds it against the code.

Every answer from 400 on is an `application/problem+json` (RFC 9457), an address that does not exist included; only
`/health`, `/health-check` and `/readyz` tell in their own form why they are 503, and what is no HTTP gets no body:

```json
{
  "type": "/problems/REQUEST_INVALID",
  "title": "The request is not valid",
  "status": 400,
  "detail": "2 fields are not valid",
  "code": "REQUEST_INVALID",
  "errors": [
    {"param": "price", "message": "must be at least 0"},
    {"param": "items[1].quantity", "message": "must be a whole number"}
  ],
  "request_id": "5f0e6c2b9d1f4b0c8f6a2d3e4c5b6a79"
}
```

`code` never changes and is what programs decide by; `type` leads to its explanation on the service itself
(`GET /problems/{code}`); `detail` is for people and may change. `errors` names every field, parameter or header that is
wrong, all at once. Some kinds add members: `STOCK_SHORT` of an order has `lines`, each with `line`, `product_id`,
`requested` and `available`; `OUTCOME_UNKNOWN` has `location`, where to look, as does the header `Location`. While too
many nodes are away, a 503 has `replicas_required`, how many copies of the data have to answer, and `replicas_alive`.
`request_id` stands on every line of the service's log that belongs to the request, and comes as header `X-Request-ID`;
a caller may send an id of its own in that header (letters, digits, `.`, `_`, `-`, 64 at most).

*Retry after* is the header `Retry-After`, in seconds. A write that was answered with 503 and `OUTCOME_UNKNOWN` may have
happened: look before it is sent again. So may one that met a fault of the store, 500 `INTERNAL_ERROR`, or a schema that
fell behind meanwhile; the same call under its `Idempotency-Key` finds out. After every other error nothing was changed.

| code | status | title | what to do | retry after |
|---|---|---|---|---|"""
