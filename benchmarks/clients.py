"""Clients of the store as good clients are: they ask over HTTP, and tell every request and answer to a journal.

A POST goes out under an `Idempotency-Key`; what is left unknown is sent again under the same key, to another server.
What they ask for and when is decided by `benchmarks.shoppers`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID, uuid5

import orjson
import urllib3
from urllib3.exceptions import HTTPError, NewConnectionError

from benchmarks.histories import Attempt, Kind, OrderSeen, Outcome, order_seen
from store_manager.controllers.operations import STALE
from store_manager.controllers.requests import KEY_HEADER, KEY_NAMESPACE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from random import Random

PAUSE_S = 0.2
"""How long to wait before the next attempt when no answer says how long."""

FICKLE = 0.1
"""How often a client changes to another server although the last one has answered."""

NOT_SENT = "NOT_SENT"
POSSIBLY_STALE = "POSSIBLY_STALE"
UNTOLD = frozenset({"OUTCOME_UNKNOWN", "IDEMPOTENCY_KEY_IN_USE", "INTERNAL_ERROR"})
"""Answers that do not tell whether it was done."""


@dataclass(frozen=True)
class Reply:
    """An answer: its body as JSON, the version of its ETag, after how long to ask again, whether it may be stale."""

    status: int
    body: Any
    version: int | None = None
    retry_after_s: float | None = None
    stale: bool = False


class NoAnswerError(Exception):
    """A request was not answered; `code` says how, `was_sent` is false if it certainly never reached anybody."""

    def __init__(self, code: str, *, was_sent: bool) -> None:
        super().__init__(code)
        self.code = code
        self.was_sent = was_sent


class Server(Protocol):
    """Where requests go."""

    def send(self, method: str, path: str, body: Any, headers: dict[str, str]) -> Reply:
        """Return the answer, or raise NoAnswerError."""


class HttpServer:
    """A store at an address."""

    def __init__(self, host: str, port: int, *, timeout_s: float, connections: int) -> None:
        self.url = f"http://{host}:{port}"
        self._pool = urllib3.HTTPConnectionPool(
            host, port, maxsize=connections, retries=False, timeout=urllib3.Timeout(connect=1.0, read=timeout_s)
        )

    def send(self, method: str, path: str, body: Any, headers: dict[str, str]) -> Reply:
        """Return the answer, or raise NoAnswerError."""
        data = None if body is None else orjson.dumps(body)
        typed = headers if body is None else {**headers, "Content-Type": "application/json"}
        try:
            response = self._pool.request(method, path, body=data, headers=typed)
        except NewConnectionError as error:
            raise NoAnswerError(NOT_SENT, was_sent=False) from error
        except HTTPError as error:
            raise NoAnswerError(type(error).__name__, was_sent=True) from error
        return reply_of(response.status, response.data, response.headers)


def reply_of(status: int, data: bytes, headers: Any) -> Reply:
    """Make a reply of what came over HTTP."""
    etag, retry_after = headers.get("ETag"), headers.get("Retry-After")
    return Reply(
        status,
        orjson.loads(data) if data else None,
        int(etag.strip('"')) if etag else None,
        float(retry_after) if retry_after else None,
        headers.get(STALE) == "true",
    )


@dataclass(frozen=True)
class _Request:
    """What is asked; `keyed` requests carry the operation's id as their key."""

    kind: Kind
    method: str
    path: str
    asked: dict[str, Any]
    body: Any = None
    keyed: bool = False
    headers: dict[str, str] = field(default_factory=dict)


class Client:
    """One client; `patience_s` is for how long it tries to be told what became of a request."""

    def __init__(
        self, servers: Sequence[Server], tell: Callable[[Attempt], None], random: Random, *, patience_s: float
    ) -> None:
        self._servers = random.sample(servers, len(servers))
        self._tell = tell
        self._random = random
        self._patience_s = patience_s

    def place(self, user_id: str, items: list[tuple[str, int]], *, patiently: bool = True) -> Attempt:
        """Place an order of these products and quantities."""
        operation = self._new_id()
        asked = {"order_id": order_id_of(operation), "user_id": user_id, "items": items}
        lines = [{"product_id": product_id, "quantity": quantity} for product_id, quantity in items]
        request = _Request(Kind.PLACE, "POST", "/orders", asked, {"user_id": user_id, "items": lines}, keyed=True)
        return self._ask(request, operation, self._patience_s if patiently else 0.0)

    def pay(self, order_id: str) -> Attempt:
        """Say that an order was paid."""
        request = _Request(Kind.PAY, "POST", f"/orders/{order_id}/payment", {"order_id": order_id}, keyed=True)
        return self._ask(request, self._new_id(), self._patience_s)

    def fulfil(self, order_id: str) -> Attempt:
        """Hand an order over."""
        request = _Request(Kind.FULFIL, "POST", f"/orders/{order_id}/fulfilment", {"order_id": order_id}, keyed=True)
        return self._ask(request, self._new_id(), self._patience_s)

    def cancel(self, order_id: str) -> Attempt:
        """Cancel an order."""
        request = _Request(Kind.CANCEL, "DELETE", f"/orders/{order_id}", {"order_id": order_id})
        return self._ask(request, self._new_id(), self._patience_s)

    def adjust(self, product_id: str, delta: int, reason: str) -> Attempt:
        """Move a stock; the movement's note is the operation's id."""
        operation = self._new_id()
        body = {"delta": delta, "reason": reason, "note": operation}
        asked = {"product_id": product_id, "delta": delta, "note": operation}
        request = _Request(Kind.ADJUST, "POST", f"/stocks/{product_id}/adjustments", asked, body, keyed=True)
        return self._ask(request, operation, self._patience_s)

    def count(self, product_id: str, quantity: int, version: int | None) -> Attempt:
        """Set a stock's count, if it still has this version; None: whatever it is. Sent once, for it has no key."""
        headers = {} if version is None else {"If-Match": f'"{version}"'}
        asked = {"product_id": product_id, "quantity": quantity, "if_match": version}
        request = _Request(
            Kind.COUNT, "PUT", f"/stocks/{product_id}", asked, {"quantity": quantity}, keyed=False, headers=headers
        )
        return self._ask(request, self._new_id(), 0.0)

    def read_stock(self, product_id: str) -> Attempt:
        """Read a stock once."""
        request = _Request(Kind.READ_STOCK, "GET", f"/stocks/{product_id}", {"product_id": product_id})
        return self._ask(request, self._new_id(), 0.0)

    def read_order(self, order_id: str) -> Attempt:
        """Read an order once."""
        request = _Request(Kind.READ_ORDER, "GET", f"/orders/{order_id}", {"order_id": order_id})
        return self._ask(request, self._new_id(), 0.0)

    def _new_id(self) -> str:
        return UUID(int=self._random.getrandbits(128), version=4).hex

    def _ask(self, request: _Request, operation: str, patience_s: float) -> Attempt:
        """Send a request until it is told what became of it, to one server after the other, or patience ends.

        A client stays with a server that answers, and changes now and then.
        """
        end_s = time.monotonic() + patience_s
        if self._random.random() < FICKLE:
            self._servers.append(self._servers.pop(0))
        while True:
            attempt, pause_s = self._try(request, operation)
            self._tell(attempt)
            if not _is_left_open(attempt):
                return attempt
            self._servers.append(self._servers.pop(0))
            pause_s *= self._random.uniform(0.5, 1.5)
            if time.monotonic() + pause_s > end_s:
                return attempt
            time.sleep(pause_s)

    def _try(self, request: _Request, operation: str) -> tuple[Attempt, float]:
        """Send a request once; return what was told, and how long to wait before the next attempt."""
        headers = {**request.headers, KEY_HEADER: operation} if request.keyed else request.headers
        began_s = time.monotonic()
        try:
            reply = self._servers[0].send(request.method, request.path, request.body, headers)
        except NoAnswerError as error:
            outcome = Outcome.UNKNOWN if error.was_sent else Outcome.FAIL
            return _attempt(request, operation, began_s, outcome, error.code, {}), PAUSE_S
        if reply.stale:  # it says so itself, so it claims nothing that could be held against what was told before
            return _attempt(request, operation, began_s, Outcome.FAIL, POSSIBLY_STALE, {}), 0.0
        if reply.status < HTTPStatus.BAD_REQUEST:
            return _attempt(request, operation, began_s, Outcome.OK, "", _told(request.kind, reply)), 0.0
        code = reply.body["code"]
        outcome = Outcome.UNKNOWN if code in UNTOLD else Outcome.FAIL
        told = {"lines": reply.body.get("lines"), "available": reply.body.get("available")}
        return _attempt(request, operation, began_s, outcome, code, told), reply.retry_after_s or PAUSE_S


def _attempt(
    request: _Request, operation: str, began_s: float, outcome: Outcome, code: str, told: dict[str, Any]
) -> Attempt:
    return Attempt(
        kind=request.kind,
        operation=operation,
        began_s=began_s,
        ended_s=time.monotonic(),
        outcome=outcome,
        code=code,
        asked=request.asked,
        told=told,
    )


def _is_left_open(attempt: Attempt) -> bool:
    return attempt.outcome is Outcome.UNKNOWN or attempt.code in (NOT_SENT, "DATABASE_UNAVAILABLE", "CONTENDED")


def _told(kind: Kind, reply: Reply) -> dict[str, Any]:
    body = reply.body
    match kind:
        case Kind.ADJUST:
            return {name: body[name] for name in ("version", "movement_id", "delta", "reserved_delta")}
        case Kind.COUNT | Kind.READ_STOCK:
            return {name: body[name] for name in ("version", "quantity", "reserved", "available")}
        case _:
            seen = order_of(reply)
            return {name: getattr(seen, name) for name in ("status", "lines", "reached", "version")}


def order_of(reply: Reply) -> OrderSeen:
    """Return the order that was answered."""
    return order_seen(
        status=reply.body["status"],
        lines=((line["product_id"], line["quantity"]) for line in reply.body["lines"]),
        reached=(change["status"] for change in reply.body["history"]),
        version=reply.version or 0,
    )


def order_id_of(key: str) -> str:
    """Return the id that an order under this key has: it follows, so that an unanswered order can be looked for."""
    return str(uuid5(KEY_NAMESPACE, f"POST /orders\n{key}"))


def pages(server: Server, path: str, name: str, query: str = "") -> Iterator[Any]:
    """Yield everything that a list holds, a page at a time."""
    cursor = ""
    while True:
        reply = insist(server, f"{path}?limit=100{query}{cursor}")
        yield from reply.body[name]
        if reply.body["next"] is None:
            return
        cursor = f"&cursor={reply.body['next']}"


def insist(server: Server, path: str, *, patience_s: float = 60.0) -> Reply:
    """Read until there is an answer that is no refusal of the moment; raise NoAnswerError when patience ends."""
    end_s = time.monotonic() + patience_s
    while True:
        try:
            reply = server.send("GET", path, None, {})
        except NoAnswerError:
            if time.monotonic() > end_s:
                raise
        else:
            if reply.status in (HTTPStatus.OK, HTTPStatus.NOT_FOUND):
                return reply
            if time.monotonic() > end_s:
                raise NoAnswerError(reply.body["code"], was_sent=True)
        time.sleep(PAUSE_S)
