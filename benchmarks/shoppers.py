"""Shoppers: buyers, cancellers, restockers and readers, each a thread with a client of its own.

Some products are scarce, so that orders are refused; some orders are paid and handed over, some cancelled, some both
at once. What a client does with a request stands in `benchmarks.clients`.
"""

from __future__ import annotations

import queue
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http import HTTPStatus
from random import Random
from typing import TYPE_CHECKING, Any

from benchmarks.clients import Client, NoAnswerError
from benchmarks.histories import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.clients import Server
    from benchmarks.histories import Attempt

SCARCE, PLENTY = 6, 40
MOST_DAMAGED = 10
MOST_UNITS = 3
CANCELLED_TWICE = 0.4
"""The part of all cancelled orders that two cancel at once."""

DISPUTED = 0.2
"""The part of all cancelled orders that are handed over at the same time."""

LOST_INTEREST = 0.1
"""The part of buyers that do not ask again when they are not told what became of their order."""

READER_PAUSE_S, RESTOCKER_PAUSE_S = 0.02, 0.1
QUIET_S = 0.5
"""How long to wait when there is nothing to do, or nobody answers."""


@dataclass(frozen=True)
class Shop:
    """What is sold and who buys; the first product is the hottest."""

    product_ids: tuple[str, ...]
    user_ids: tuple[str, ...]


def open_shop(server: Server, client: Client, random: Random, *, products: int, users: int) -> Shop:
    """Make products with a first count each, and users; raises NoAnswerError if the store does not do it."""
    tag = f"{random.getrandbits(64):x}"
    product_ids = [
        _make(server, "/products", {"name": f"Product {number}", "sku": f"{tag}-{number}", "price": "2.50"})[
            "product_id"
        ]
        for number in range(products)
    ]
    user_ids = [
        _make(server, "/users", {"name": f"User {number}", "email": f"{tag}-{number}@example.ca"})["user_id"]
        for number in range(users)
    ]
    for number, product_id in enumerate(product_ids):
        counted = client.count(product_id, SCARCE if number % 2 else PLENTY, None)
        if counted.outcome is not Outcome.OK:
            raise NoAnswerError(counted.code, was_sent=True)
    return Shop(tuple(product_ids), tuple(user_ids))


def _make(server: Server, path: str, body: Any) -> Any:
    reply = server.send("POST", path, body, {})
    if reply.status != HTTPStatus.CREATED:
        raise NoAnswerError(reply.body["code"], was_sent=True)
    return reply.body


@dataclass(frozen=True)
class Crew:
    """How many threads do what, what parts of all orders are cancelled and handed over, and how much comes at most.

    `most_lines` is how long a basket is at most.
    """

    buyers: int = 8
    cancellers: int = 3
    restockers: int = 2
    readers: int = 3
    cancelled: float = 0.5
    handed_over: float = 0.6
    received: int = 20
    most_lines: int = 4

    @property
    def size(self) -> int:
        """How many threads there are."""
        return self.buyers + self.cancellers + self.restockers + self.readers


@dataclass
class Traffic:
    """Shoppers at work, until `orders` have been placed or `stop` is called; `placed` is how many were answered 201."""

    crew: Crew
    shop: Shop
    servers: Sequence[Server]
    tell: Callable[[Attempt], None]
    seed: str
    patience_s: float
    orders: int
    placed: int = 0
    stopped: threading.Event = field(default_factory=threading.Event)
    _unwanted: queue.SimpleQueue[str] = field(default_factory=queue.SimpleQueue)
    _known: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self) -> None:
        """Shop, and return when all shoppers have ended."""
        works: list[Callable[[Client, Random], None]] = [
            *[self._buy] * self.crew.buyers,
            *[self._cancel] * self.crew.cancellers,
            *[self._restock] * self.crew.restockers,
            *[self._read] * self.crew.readers,
        ]
        with ThreadPoolExecutor(len(works), thread_name_prefix="shopper") as pool:
            ends = [pool.submit(self._work, number, work) for number, work in enumerate(works)]
        for end in ends:
            end.result()

    def stop(self) -> None:
        """Let every shopper end after what it is about."""
        self.stopped.set()

    def _work(self, number: int, work: Callable[[Client, Random], None]) -> None:
        random = Random(f"{self.seed}/{number}")  # noqa: S311 - decides what is bought, keeps no secret
        client = Client(self.servers, self.tell, random, patience_s=self.patience_s)
        try:
            while not self.stopped.is_set():
                work(client, random)
        except BaseException:
            self.stop()  # a fault of the shopper: the others need not go on
            raise

    def _buy(self, client: Client, random: Random) -> None:
        placed = client.place(
            random.choice(self.shop.user_ids), self._basket(random), patiently=random.random() > LOST_INTEREST
        )
        if placed.outcome is not Outcome.OK:
            return
        with self._lock:
            self.placed += 1
            if self.placed >= self.orders:
                self.stop()
        order_id = placed.asked["order_id"]
        self._known.append(order_id)
        cancelled = self.crew.cancelled
        fate, first_handed_over = random.random(), cancelled * (1 - DISPUTED)
        if fate < cancelled:
            self._unwanted.put(order_id)
        if fate < cancelled * CANCELLED_TWICE:
            self._unwanted.put(order_id)
        if first_handed_over <= fate < first_handed_over + self.crew.handed_over:
            client.pay(order_id)
            client.fulfil(order_id)

    def _basket(self, random: Random) -> list[tuple[str, int]]:
        """Choose products, the hottest in every other basket; one may stand in several lines."""
        products = self.shop.product_ids
        chosen = [random.choice(products) for _ in range(random.randint(1, self.crew.most_lines))]
        if random.random() < 0.5:  # noqa: PLR2004
            chosen[0] = products[0]
        return [(product_id, random.randint(1, MOST_UNITS)) for product_id in chosen]

    def _cancel(self, client: Client, _: Random) -> None:
        try:
            order_id = self._unwanted.get(timeout=QUIET_S)
        except queue.Empty:
            return
        client.cancel(order_id)

    def _restock(self, client: Client, random: Random) -> None:
        time.sleep(RESTOCKER_PAUSE_S)
        product_id = random.choice(self.shop.product_ids)
        seen = client.read_stock(product_id)
        if seen.outcome is not Outcome.OK:
            time.sleep(QUIET_S)
        elif random.random() < 0.2:  # noqa: PLR2004 - now and then a count that finds what the books say
            client.count(product_id, seen.told["quantity"], seen.told["version"])
        elif seen.told["available"] < PLENTY and random.random() < 0.8:  # noqa: PLR2004
            client.adjust(product_id, random.randint(1, self.crew.received), "RECEIVED")
        else:
            client.adjust(product_id, -random.randint(1, MOST_DAMAGED), "DAMAGED")

    def _read(self, client: Client, random: Random) -> None:
        time.sleep(READER_PAUSE_S)
        if self._known and random.random() < 0.5:  # noqa: PLR2004
            read = client.read_order(random.choice(self._known))
        else:
            read = client.read_stock(random.choice(self.shop.product_ids))
        if read.outcome is not Outcome.OK:
            time.sleep(QUIET_S)
