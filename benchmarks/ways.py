"""Three ways to change a stock, each in the shape of the store's own writers, so that each can stand in their place.

- compare-and-retry: every caller reads the head, writes it on its version, and begins again when others were faster;
- lock: the same, one caller of the process at a time for each product, from the head that the last success left;
- combining: what the store does (`store_manager.services.stock_writers`).

All write the same rows by the same conditional batch. Nothing here measures.
"""
# ruff: noqa: SLF001 - what is compared shall differ in the way, and in nothing else: rows and batches are the store's

from __future__ import annotations

import threading
import time
from collections import defaultdict
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol
from uuid import UUID, uuid4, uuid5

from store_manager.dao import conditional, stocks
from store_manager.errors import Contended
from store_manager.services import stock_writers
from store_manager.services.rules import Operation, Verb, fold
from store_manager.services.stock_writers import Done, StockWriters

if TYPE_CHECKING:
    from collections.abc import Callable

    from store_manager.models import Stock


class Writers(Protocol):
    """What carries operations out."""

    def submit(self, product_id: UUID, operation: Operation) -> Future[Done]:
        """Carry an operation out, now or later; the future tells the outcome."""


class CompareAndRetry:
    """Read, compare, retry, with growing pauses, in the caller's thread."""

    def submit(self, product_id: UUID, operation: Operation) -> Future[Done]:
        """Carry an operation out, beginning again for as long as others are faster."""
        return _do(lambda: self._carry_out(product_id, operation))

    def _carry_out(self, product_id: UUID, operation: Operation) -> Done:
        for pause_s in conditional.pauses():
            tried = try_once(product_id, operation, stocks.find(product_id))
            if tried is not None:
                return tried.done
            time.sleep(pause_s)
        raise Contended("Others were faster each time.")


@dataclass
class _Turn:
    """Whose turn it is with a product, and the head that the last success left."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    head: Stock | None = None


class Locked:
    """One caller of the process at a time for each product; the head that the last success left saves the read."""

    def __init__(self) -> None:
        self._turns: defaultdict[UUID, _Turn] = defaultdict(_Turn)

    def submit(self, product_id: UUID, operation: Operation) -> Future[Done]:
        """Carry an operation out, when it is this caller's turn."""
        return _do(lambda: self._carry_out(product_id, operation))

    def _carry_out(self, product_id: UUID, operation: Operation) -> Done:
        turn = self._turns[product_id]
        with turn.lock:
            for pause_s in conditional.pauses():
                tried = try_once(product_id, operation, turn.head or stocks.find(product_id))
                turn.head = None if tried is None else tried.head
                if tried is not None:
                    return tried.done
                time.sleep(pause_s)
        raise Contended("Other processes were faster each time.")


@dataclass(frozen=True)
class Tried:
    """What an attempt has done, and the head that it left."""

    done: Done
    head: Stock | None


def try_once(product_id: UUID, operation: Operation, head: Stock | None) -> Tried | None:
    """Carry one operation out by a conditional batch of its own; None if the head was not as expected."""
    known = stock_writers._read_reservations(product_id, [operation], sure=False)
    [verdict] = fold(stock_writers._balance(head), [operation], known)
    done = Done(verdict, stock_writers._movement(product_id, verdict))
    if done.movement is None:
        return Tried(done, head)
    after = stock_writers._head_after(product_id, head, verdict.after)
    return Tried(done, after) if stocks.commit(head, after, [stock_writers._change(done)]) else None


def _do(carry_out: Callable[[], Done]) -> Future[Done]:
    future: Future[Done] = Future()
    try:
        future.set_result(carry_out())
    except Exception as error:  # noqa: BLE001 - the store's writers hand over whatever they meet, too
        future.set_exception(error)
    return future


PLENTY = 100_000_000
"""So many units that none of what is measured is ever short."""

WAYS: dict[str, Callable[[], Writers]] = {
    "compare-and-retry": CompareAndRetry,
    "lock": Locked,
    "combining": StockWriters,
}


def sale() -> Operation:
    """Return the reservation of one unit for an order of its own; its id is a hash, as the store's are."""
    order_id = uuid4()
    return Operation(Verb.RESERVE, uuid5(order_id, "sale"), 1, order_id=order_id)


def sell(writers: Writers, product_id: UUID) -> None:
    """Reserve one unit; raises StoreError if it is not done."""
    verdict = stock_writers.await_done(writers.submit(product_id, sale())).verdict
    if verdict.refusal is not None:
        raise Contended(f"The sale was refused: {verdict.refusal}.")
