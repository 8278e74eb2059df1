"""Sales below HTTP: processes that sell by a way of `benchmarks.ways`, each with a connection of its own.

The same processes find the ceiling: how many conditional writes the cluster takes when no two meet in a partition.
"""

from __future__ import annotations

import multiprocessing
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from benchmarks.counts import Counts
from benchmarks.ways import PLENTY, WAYS, sale, sell, try_once
from store_manager import dao, logs, memory
from store_manager.database import connections, deadlines
from store_manager.errors import Contended
from store_manager.services.rules import Operation, Verb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from threading import Barrier

    from benchmarks.ways import Tried
    from store_manager.models import Stock
    from store_manager.settings import Settings

REQUEST_S = 30.0

COUNTS = Counts()
"""What this process has sent."""


@dataclass(frozen=True)
class Measured:
    """What was seen: the seconds of each sale, the sales that failed, and the conditional writes that were sent."""

    latencies_s: list[float]
    failed: int
    conditional: int
    stock: int


def buy_for(seconds: float, buyers: int, buy: Callable[[], object]) -> tuple[list[float], int]:
    """Buy from so many threads, each again and again; return the seconds of each sale, and how many failed."""
    end_s = time.monotonic() + seconds

    def go_on(_: int) -> tuple[list[float], int]:
        latencies_s, failed = [], 0
        while (began_s := time.monotonic()) < end_s:
            try:
                buy()
            except Exception:  # noqa: BLE001 - a failed sale is counted, whatever it was
                failed += 1
            else:
                latencies_s.append(time.monotonic() - began_s)
        return latencies_s, failed

    with ThreadPoolExecutor(buyers) as pool:
        parts = list(pool.map(go_on, range(buyers)))
    return [latency_s for part, _ in parts for latency_s in part], sum(failed for _, failed in parts)


class Sellers:
    """Processes that sell, all at the same time."""

    def __init__(self, pool: Any, manager: Any) -> None:
        self._pool = pool
        self._manager = manager

    def sell(self, way: str, product_id: UUID, processes: int, buyers: int, seconds: float) -> Measured:
        """Sell one product from so many processes, with so many buyers in each."""
        return self._run(_sell_for, way, product_id, buyers, seconds, processes=processes)

    def find_ceiling(self, processes: int, threads: int, seconds: float) -> float:
        """Return how many conditional writes a second so many threads of so many processes get done."""
        spread = self._run(_write_spread, threads, seconds, processes=processes)
        return len(spread.latencies_s) / seconds

    def _run(self, work: Callable[..., Measured], *args: Any, processes: int) -> Measured:
        start = self._manager.Barrier(processes)
        parts = self._pool.starmap(work, [(*args, start)] * processes, chunksize=1)
        return Measured(
            latencies_s=[latency_s for part in parts for latency_s in part.latencies_s],
            failed=sum(part.failed for part in parts),
            conditional=sum(part.conditional for part in parts),
            stock=sum(part.stock for part in parts),
        )


@contextmanager
def sellers(settings: Settings, processes: int) -> Iterator[Sellers]:
    """Start so many processes, and end them."""
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager, context.Pool(processes, _connect, (settings,)) as pool:
        yield Sellers(pool, manager)


def _connect(settings: Settings) -> None:
    """Connect one process, for as long as it lives."""
    logs.configure("CRITICAL", "console")
    COUNTS.watch(connections.connect(settings))
    connections.prepare_all(dao.REHEARSALS)
    memory.settle()


def _sell_for(way: str, product_id: UUID, buyers: int, seconds: float, start: Barrier) -> Measured:
    writers = WAYS[way]()
    sell(writers, product_id)

    def buy() -> None:
        with deadlines.deadline(REQUEST_S):
            sell(writers, product_id)

    return _measure(seconds, buyers, buy, start)


def _write_spread(threads: int, seconds: float, start: Barrier) -> Measured:
    """Let each thread sell a product of its own, by a conditional batch for each sale and without a read."""
    free = [_first_head() for _ in range(threads)]

    def write() -> None:
        head = free.pop()  # pop and append of a list are each one step for all threads
        free.append(_head_of(try_once(head.product_id, sale(), head)))

    return _measure(seconds, threads, write, start)


def _first_head() -> Stock:
    return _head_of(try_once(uuid4(), Operation(Verb.COUNT, uuid4(), PLENTY), None))


def _head_of(tried: Tried | None) -> Stock:
    if tried is None or tried.head is None:
        raise Contended("Somebody else writes to a product that nobody knows.")
    return tried.head


def _measure(seconds: float, buyers: int, buy: Callable[[], object], start: Barrier) -> Measured:
    start.wait()
    COUNTS.take()
    latencies_s, failed = buy_for(seconds, buyers, buy)
    return Measured(latencies_s, failed, **COUNTS.take())
