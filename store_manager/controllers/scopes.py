"""What surrounds every request: its id, its deadline, its tally, its log line, its figures and its headers."""

from __future__ import annotations

import re
import time
from contextlib import ExitStack
from http import HTTPStatus
from typing import TYPE_CHECKING
from uuid import uuid4

import structlog
from flask import Flask, Response, g, request

from store_manager import metrics
from store_manager.controllers import problems
from store_manager.controllers.contexts import store
from store_manager.controllers.operations import ATTEMPTS, COORDINATOR, REPLAYED, STALE
from store_manager.controllers.requests import LEVEL_HEADER
from store_manager.database.deadlines import deadline
from store_manager.database.tallies import tally

if TYPE_CHECKING:
    from store_manager.database.tallies import Tally
    from store_manager.services.request_keys import RequestKey

REQUEST_ID = "X-Request-ID"
_REQUEST_ID_FORM = re.compile(r"[A-Za-z0-9._-]{1,64}")

UNKNOWN_ROUTE = "unknown"

_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Headers of every answer that does not set them itself."""

log = structlog.get_logger(__name__)


def surround(app: Flask) -> None:
    """Let every request of this application run inside its scope, errors included."""
    app.before_request(_open)
    app.after_request(_finish)
    app.teardown_request(_close)
    app.register_error_handler(Exception, problems.handle)


def _open() -> None:
    g.started_at = time.perf_counter()
    g.request_id = _request_id()
    g.around = ExitStack()
    g.around.enter_context(structlog.contextvars.bound_contextvars(request_id=g.request_id))
    g.around.enter_context(deadline(store().settings.request_timeout_s))
    g.tally = g.around.enter_context(tally())


def _request_id() -> str:
    given = request.headers.get(REQUEST_ID, "")
    return given if _REQUEST_ID_FORM.fullmatch(given) else uuid4().hex


def _finish(response: Response) -> Response:
    response.headers[REQUEST_ID] = g.request_id
    _say_who_answered(response, g.tally)
    _say_if_replayed(response)
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    _tell(response.status_code, time.perf_counter() - g.started_at, g.tally)
    return response


def _say_who_answered(response: Response, statements: Tally) -> None:
    """Name the nodes and the levels of all statements of the request, in the order in which they first answered."""
    if coordinators := statements.coordinators:
        response.headers[COORDINATOR] = ", ".join(coordinators)
        response.headers[LEVEL_HEADER] = ", ".join(statements.levels)
        response.headers[ATTEMPTS] = str(statements.attempts)
    if statements.may_miss:
        response.headers[STALE] = "true"


def _say_if_replayed(response: Response) -> None:
    """Say that this was the first outcome of a key, found again: a refusal just as much as a success."""
    key: RequestKey | None = g.get("key")
    if key is not None and key.replayed and response.status_code < HTTPStatus.INTERNAL_SERVER_ERROR:
        response.headers[REPLAYED] = "true"


def _tell(status: int, duration_s: float, statements: Tally) -> None:
    route = request.url_rule.rule if request.url_rule is not None else UNKNOWN_ROUTE
    log.info(
        "request",
        method=request.method,
        route=route,
        status=status,
        duration_ms=round(duration_s * 1000, 3),
        statements=statements.statements,
        statements_ms=round(statements.seconds * 1000, 3),
    )
    metrics.count_request(
        request.method,
        route,
        status,
        duration_s=duration_s,
        statements=statements.statements,
        statements_s=statements.seconds,
        answers=statements.answers,
    )


def _close(_: BaseException | None) -> None:
    around = g.pop("around", None)
    if around is not None:
        around.close()
