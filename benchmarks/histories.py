"""Histories: what clients asked of the store and what they were told, one JSON line for each request.

An answer is *ok*, *fail* (nothing was changed, and nothing will be) or *unknown*; an operation is one thing that a
client wants, in as many attempts under one key as it takes to be told. What the store holds in the end stands in the
same file. No judgement stands here (`benchmarks.checks`), no load and no fault.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


class Kind(StrEnum):
    """What a client can ask for."""

    PLACE = "place"
    PAY = "pay"
    FULFIL = "fulfil"
    CANCEL = "cancel"
    ADJUST = "adjust"
    COUNT = "count"
    READ_STOCK = "read stock"
    READ_ORDER = "read order"


READS = frozenset({Kind.READ_STOCK, Kind.READ_ORDER})


class Outcome(StrEnum):
    """What a client knows after an answer, or after none."""

    OK = "ok"
    FAIL = "fail"
    UNKNOWN = "unknown"


SETTLING = frozenset(
    {"STOCK_SHORT", "ORDER_STATE_CONFLICT", "IDEMPOTENCY_KEY_SPENT", "ORDER_GIVEN_UP", "COUNT_BELOW_RESERVED"}
)
"""Refusals that also tell what became of earlier attempts without an answer: they did nothing, and never will."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One request: when it was sent and answered (seconds of one clock), what was asked, and what was told.

    `operation` is the same for all attempts at one thing. `code` is the problem's, or what happened to the connection.
    """

    kind: Kind
    operation: str
    began_s: float
    ended_s: float
    outcome: Outcome
    code: str
    asked: dict[str, Any]
    told: dict[str, Any]


@dataclass(frozen=True)
class Operation:
    """One thing that a client wanted, with all attempts at it, in their order."""

    attempts: tuple[Attempt, ...]

    @property
    def kind(self) -> Kind:
        """What was asked for."""
        return self.attempts[0].kind

    @property
    def asked(self) -> dict[str, Any]:
        """What was asked, the same in every attempt."""
        return self.attempts[0].asked

    @property
    def began_s(self) -> float:
        """When the first attempt was sent: nothing of it can have happened before."""
        return self.attempts[0].began_s

    @cached_property
    def answer(self) -> Attempt:
        """The first attempt that was answered *ok*, else the last one."""
        return next((one for one in self.attempts if one.outcome is Outcome.OK), self.attempts[-1])

    @property
    def outcome(self) -> Outcome:
        """What the client knows in the end: a refusal after an unknown attempt tells nothing of it, save some."""
        if self.answer.outcome is Outcome.FAIL and self.was_unknown and self.answer.code not in SETTLING:
            return Outcome.UNKNOWN
        return self.answer.outcome

    @property
    def was_unknown(self) -> bool:
        """Whether an attempt was left without an answer that tells."""
        return any(one.outcome is Outcome.UNKNOWN for one in self.attempts)


@dataclass(frozen=True, slots=True, kw_only=True)
class StockSeen:
    """The head of a stock."""

    quantity: int
    reserved: int
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MovementSeen:
    """A row of a ledger."""

    version: int
    movement_id: str
    delta: int
    reserved_delta: int
    reason: str
    note: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderSeen:
    """An order: its lines as (product, quantity), and the statuses that it has reached."""

    status: str
    lines: tuple[tuple[str, int], ...]
    reached: tuple[str, ...]
    version: int


@dataclass
class Remains:
    """What the store holds in the end: by product its stock and its ledger, by id every order that can be read.

    `listed` are the orders that their users' lists show.
    """

    stocks: dict[str, StockSeen] = field(default_factory=dict)
    ledgers: dict[str, list[MovementSeen]] = field(default_factory=dict)
    orders: dict[str, OrderSeen] = field(default_factory=dict)
    listed: set[str] = field(default_factory=set)


@dataclass
class History:
    """All that was asked and told, and what remains."""

    operations: list[Operation]
    remains: Remains

    @classmethod
    def of(cls, attempts: Iterable[Attempt], remains: Remains) -> Self:
        """Put the attempts at one thing together, in the order in which they were sent."""
        groups: dict[str, list[Attempt]] = defaultdict(list)
        for attempt in attempts:
            groups[attempt.operation].append(attempt)
        ordered = (tuple(sorted(group, key=lambda one: one.began_s)) for group in groups.values())
        return cls([Operation(group) for group in ordered], remains)


class Journal:
    """A file that history is written to while it happens, by many threads.

    `orders` are all orders that were asked for, each with the code that was last told of its placing, empty for *ok*;
    `unknown` counts the requests whose outcome was left unknown.
    """

    def __init__(self, path: Path) -> None:
        """Begin a new file."""
        self.orders: dict[str, str] = {}
        self.unknown = 0
        self._file = path.open("wb")
        self._lock = threading.Lock()

    def write(self, attempt: Attempt) -> None:
        """Note one request."""
        with self._lock:
            if attempt.kind is Kind.PLACE:
                self.orders[attempt.asked["order_id"]] = attempt.code
            self.unknown += attempt.outcome is Outcome.UNKNOWN
            self._write("attempt", attempt)

    def close(self, remains: Remains) -> None:
        """Note what remains, a line for each product and order, and end the file."""
        for product_id, stock in remains.stocks.items():
            self._write("stock", {"product_id": product_id, **asdict(stock)})
        for product_id, ledger in remains.ledgers.items():
            for movement in ledger:
                self._write("movement", {"product_id": product_id, **asdict(movement)})
        for order_id, order in remains.orders.items():
            self._write("order", {"order_id": order_id, **asdict(order)})
        for order_id in sorted(remains.listed):
            self._write("listed", {"order_id": order_id})
        self._file.close()

    def _write(self, what: str, record: Any) -> None:
        self._file.write(orjson.dumps({what: record}, option=orjson.OPT_APPEND_NEWLINE))


def read(path: Path) -> History:
    """Read a history back."""
    attempts: list[Attempt] = []
    remains = Remains()
    with path.open("rb") as lines:
        for line in lines:
            [(what, record)] = orjson.loads(line).items()
            if what == "attempt":
                record |= {"kind": Kind(record["kind"]), "outcome": Outcome(record["outcome"])}
                attempts.append(Attempt(**record))
            else:
                _read_remains(remains, what, record)
    return History.of(attempts, remains)


def _read_remains(remains: Remains, what: str, record: dict[str, Any]) -> None:
    key = record.pop("order_id" if what in ("order", "listed") else "product_id")
    match what:
        case "stock":
            remains.stocks[key] = StockSeen(**record)
        case "movement":
            remains.ledgers.setdefault(key, []).append(MovementSeen(**record))
        case "order":
            remains.orders[key] = order_seen(**record)
        case "listed":
            remains.listed.add(key)


def order_seen(*, status: str, lines: Iterable[Iterable[Any]], reached: Iterable[str], version: int) -> OrderSeen:
    """Make an order out of what JSON gives for it."""
    return OrderSeen(
        status=status,
        lines=tuple((product_id, quantity) for product_id, quantity in lines),
        reached=tuple(reached),
        version=version,
    )
