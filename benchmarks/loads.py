"""A constant load: so many reads and orders a second, sent when they are due, whether or not others are answered.

Because nobody waits for anybody, a stall is seen by everything that was due meanwhile: a time is measured from the
moment when its request was due, not from when it could be sent. Nothing here breaks anything.
"""

from __future__ import annotations

import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from random import Random
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from benchmarks.clients import UNTOLD, HttpServer, NoAnswerError
from store_manager.controllers.requests import KEY_HEADER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

READ, ORDER = "reads", "orders"
ORDERS_OF_ALL = 0.2
"""Which part of the requests are orders."""

THREADS, SETTLERS = 64, 8
PRODUCTS, USERS = 24, 8
PLENTY = 1_000_000
SETTLING_S = 60.0
PAUSE_S = 0.1
CLIENT_TIMEOUT_S = 15.0
UNANSWERED = "unanswered:"


@dataclass(frozen=True)
class Sample:
    """One request: when it was due (monotonic), how long until its answer, `code` if that was no success.

    An order of which nobody knows what became of it is `unknown`; `request` is sent again to settle it.
    """

    kind: str
    due_s: float
    took_s: float
    code: str = ""
    stale: bool = False
    unknown: bool = False
    settled: bool = True
    request: tuple[Any, dict[str, str]] | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Shop:
    """What is sold, and to whom."""

    product_ids: tuple[str, ...]
    user_ids: tuple[str, ...]


def open_shop(server: HttpServer) -> Shop:
    """Make products with more stock than any run sells, and users; raises NoAnswerError if the store does not."""
    tag = uuid4().hex[:12]
    products = tuple(
        _make(server, "/products", {"name": f"Product {number}", "sku": f"{tag}-{number}", "price": "2.50"})[
            "product_id"
        ]
        for number in range(PRODUCTS)
    )
    for product_id in products:
        _make(server, "/stocks", {"product_id": product_id, "quantity": PLENTY})
    users = tuple(
        _make(server, "/users", {"name": f"User {number}", "email": f"{tag}-{number}@example.ca"})["user_id"]
        for number in range(USERS)
    )
    return Shop(products, users)


def _make(server: HttpServer, path: str, body: Any) -> Any:
    reply = server.send("POST", path, body, {})
    if reply.status not in (HTTPStatus.OK, HTTPStatus.CREATED):
        raise NoAnswerError(reply.body["code"], was_sent=True)
    return reply.body


class Customers:
    """Those who send the requests; each order goes out under a key, so that an unknown outcome can be settled."""

    def __init__(self, server: HttpServer, shop: Shop, seed: str) -> None:
        self.server = server
        self._shop = shop
        self._random = Random(seed)  # noqa: S311 - chooses products, keeps no secret
        self._lock = threading.Lock()

    def ask(self, due_s: float | None = None) -> Sample:
        """Send one request, a read or an order, and return what became of it."""
        began_s = time.monotonic() if due_s is None else due_s
        with self._lock:
            is_order = self._random.random() < ORDERS_OF_ALL
            product_id = self._random.choice(self._shop.product_ids)
            user_id = self._random.choice(self._shop.user_ids)
            what = self._random.choice(("products", "stocks"))
        if is_order:
            return self._order(began_s, product_id, user_id)
        return self._read(began_s, f"/{what}/{product_id}")

    def _read(self, began_s: float, path: str) -> Sample:
        code, stale = self._send("GET", path, None, {}, HTTPStatus.OK)
        return Sample(READ, began_s, time.monotonic() - began_s, code, stale)

    def _order(self, began_s: float, product_id: str, user_id: str) -> Sample:
        body = {"user_id": user_id, "items": [{"product_id": product_id, "quantity": 1}]}
        headers = {KEY_HEADER: uuid4().hex}
        code, _ = self._send("POST", "/orders", body, headers, HTTPStatus.CREATED)
        is_unknown = code in UNTOLD or code.startswith(UNANSWERED)
        took_s = time.monotonic() - began_s
        return Sample(ORDER, began_s, took_s, code, unknown=is_unknown, settled=not is_unknown, request=(body, headers))

    def settle(self, sample: Sample) -> Sample:
        """Send an order again under its key until it is known what became of it, or patience ends."""
        if sample.settled or sample.request is None:
            return sample
        end_s = time.monotonic() + SETTLING_S
        while time.monotonic() < end_s:
            code, _ = self._send("POST", "/orders", *sample.request, HTTPStatus.CREATED)
            if not code:
                return replace(sample, settled=True)
            time.sleep(PAUSE_S)
        return sample

    def _send(self, method: str, path: str, body: Any, headers: dict[str, str], success: int) -> tuple[str, bool]:
        """Return the code of what went wrong, empty if nothing did, and whether the answer may be stale."""
        try:
            reply = self.server.send(method, path, body, headers)
        except NoAnswerError as error:
            return (f"{UNANSWERED} {error.code}" if error.was_sent else error.code), False
        code = "" if reply.status == success else str((reply.body or {}).get("code", reply.status))
        return code, reply.stale


def measure_capacity(customers: Customers, seconds: float) -> float:
    """Return how many requests are answered in a second when as many as the service has threads wait for each other."""
    end_s = time.monotonic() + seconds

    def ask_until_the_end(_: int) -> int:
        done = 0
        while time.monotonic() < end_s:
            done += not customers.ask().code
        return done

    with ThreadPoolExecutor(8) as pool:
        return sum(pool.map(ask_until_the_end, range(8))) / seconds


@dataclass
class Load:
    """Sends `rate` requests a second from `start` to `stop`; what became of them is in `samples`."""

    customers: Customers
    rate: float
    samples: list[Sample] = field(default_factory=list)
    _stopped: threading.Event = field(default_factory=threading.Event)
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(THREADS, thread_name_prefix="load"))

    def start(self) -> None:
        """Begin; returns at once."""
        self._sender = threading.Thread(target=self._send_all, name="load")
        self._sender.start()

    def stop(self) -> None:
        """Send nothing more, and return when everything is answered and settled."""
        self._stopped.set()
        self._sender.join()
        self._pool.shutdown()
        with ThreadPoolExecutor(SETTLERS) as pool:
            self.samples = list(pool.map(self.customers.settle, self.samples))

    def _send_all(self) -> None:
        due_s = time.monotonic()
        while not self._stopped.is_set():
            due_s += 1 / self.rate
            time.sleep(max(0.0, due_s - time.monotonic()))
            self._pool.submit(self._ask, due_s)

    def _ask(self, due_s: float) -> None:
        self.samples.append(self.customers.ask(due_s))


@dataclass(frozen=True)
class Figures:
    """What callers saw in one phase."""

    requests: int
    failures: int
    stale: int
    unknown: int
    unsettled: int
    p50_ms: float
    p99_ms: float
    worst_ms: float


def sum_up(samples: Iterable[Sample], kind: str, holds: Callable[[float], bool]) -> Figures:
    """Return the figures of the requests of a kind whose due time is in the phase."""
    chosen = [one for one in samples if one.kind == kind and holds(one.due_s)]
    took_ms = sorted(one.took_s * 1000 for one in chosen) or [0.0]
    return Figures(
        requests=len(chosen),
        failures=sum(bool(one.code) and not one.unknown for one in chosen),
        stale=sum(one.stale for one in chosen),
        unknown=sum(one.unknown for one in chosen),
        unsettled=sum(not one.settled for one in chosen),
        p50_ms=round(statistics.median(took_ms), 1),
        p99_ms=round(took_ms[int(0.99 * (len(took_ms) - 1))], 1),
        worst_ms=round(took_ms[-1], 1),
    )
