"""A crowd of buyers without a thread each: every buyer's next step follows when the last one is done.

A sale here is whole: a unit is reserved, then handed over, so that its rows may leave the stock partition.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchmarks.ways import sale
from store_manager.services.rules import Operation, Verb

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future
    from uuid import UUID

    from benchmarks.ways import Writers
    from store_manager.services.stock_writers import Done


@dataclass
class Crowd:
    """So many buyers of one product, each of whom begins a sale when the last one is over, until enough were begun.

    `latencies_s` is how long each reservation took, `failed` what went wrong with any step.
    """

    writers: Writers
    product_id: UUID
    buyers: int
    told: Callable[[], object] = lambda: None
    latencies_s: list[float] = field(default_factory=list)
    failed: list[BaseException] = field(default_factory=list)
    _left: int = 0
    _busy: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _over: threading.Event = field(default_factory=threading.Event)

    def sell(self, sales: int) -> float:
        """Sell so many units, and return how many seconds it took."""
        self._left, self._busy = sales, self.buyers
        self._over.clear()
        began_s = time.monotonic()
        for _ in range(self.buyers):
            self._begin()
        self._over.wait()
        return time.monotonic() - began_s

    def _begin(self) -> None:
        with self._lock:
            if self._left > 0:
                self._left -= 1
            else:
                self._busy -= 1
                if not self._busy:
                    self._over.set()
                return
        operation, began_s = sale(), time.monotonic()

        def reserved(future: Future[Done]) -> None:
            if self._is_done(future):
                self.latencies_s.append(time.monotonic() - began_s)
                self.writers.submit(self.product_id, hand_over(operation)).add_done_callback(handed_over)
            else:
                self._begin()

        def handed_over(future: Future[Done]) -> None:
            self._is_done(future)
            self.told()
            self._begin()

        self.writers.submit(self.product_id, operation).add_done_callback(reserved)

    def _is_done(self, future: Future[Done]) -> bool:
        error = future.exception()
        if error is None and future.result().verdict.refusal is None:
            return True
        self.failed.append(error or ValueError(future.result().verdict.refusal))
        return False


def hand_over(reserved: Operation) -> Operation:
    """Return what takes a reserved unit from what is on hand."""
    return Operation(Verb.FULFIL, reserved.operation_id, order_id=reserved.order_id)
