"""How fast one product sells when many buy it at once, below HTTP, on three nodes: three ways to the same promise.

- compare-and-retry: read the head, write it on its version, begin again when somebody else was faster;
- lock: the same, one thread of the process at a time, from the head that the last success left;
- combining: what the store does (`store_manager.services.stock_writers`).

All three write the same rows by the same conditional batch, in the same run on the same cluster, in turn and repeated.

    python -m benchmarks.hot_product --seconds 10 --repeat 3 --json benchmarks/results/hot_product.json
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks import stages
from store_manager import dao, logs
from store_manager.dao import conditional, stocks
from store_manager.database import connections, deadlines
from store_manager.services import products, stock_writers
from store_manager.services import stocks as stock_service
from store_manager.services.rules import Operation, Verb, fold

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.synchronize import Barrier

    from store_manager.models import Stock
    from store_manager.settings import Settings

PLENTY = 100_000_000
REQUEST_S = 30.0
console = Console()


class Sales:
    """One way to sell, and how many conditional writes it has sent."""

    def __init__(self) -> None:
        self.writes = 0

    def sell(self, product_id: UUID) -> None:
        """Reserve one unit."""
        raise NotImplementedError

    def _commit(self, head: Stock, product_id: UUID) -> Stock | None:
        operation = Operation(Verb.RESERVE, uuid4(), 1, order_id=uuid4())
        [verdict] = fold(stock_writers._balance(head), [operation], {})  # noqa: SLF001 - the same rows as the store's
        done = stock_writers.Done(verdict, stock_writers._movement(product_id, verdict))  # noqa: SLF001
        after = stock_writers._head_after(product_id, head, verdict.after)  # noqa: SLF001
        self.writes += 1
        return after if stocks.commit(head, after, [stock_writers._change(done)]) else None  # noqa: SLF001


class CompareAndRetry(Sales):
    """Read, compare, retry, with growing pauses."""

    def sell(self, product_id: UUID) -> None:
        """Reserve one unit, beginning again for as long as others are faster."""
        for pause_s in conditional.pauses():
            head = stocks.find(product_id)
            if head is not None and self._commit(head, product_id) is not None:
                return
            time.sleep(pause_s)
        raise TimeoutError


class Locked(Sales):
    """One thread of the process at a time; the head that the last success left saves the read."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._head: Stock | None = None

    def sell(self, product_id: UUID) -> None:
        """Reserve one unit, when it is this thread's turn."""
        with self._lock:
            for pause_s in conditional.pauses():
                head = self._head or stocks.find(product_id)
                self._head = None if head is None else self._commit(head, product_id)
                if self._head is not None:
                    return
                time.sleep(pause_s)
        raise TimeoutError


class Combined(Sales):
    """The store's own writers."""

    def __init__(self) -> None:
        super().__init__()
        self._writers = stock_writers.StockWriters()
        commit = stocks.commit

        def count_and_commit(*args: Any) -> bool:
            self.writes += 1
            return commit(*args)

        setattr(stocks, "commit", count_and_commit)  # noqa: B010 - mypy knows the real one

    def sell(self, product_id: UUID) -> None:
        """Reserve one unit in whatever batch the writer makes."""
        operation = Operation(Verb.RESERVE, uuid4(), 1, order_id=uuid4())
        done = stock_writers.await_done(self._writers.submit(product_id, operation))
        if done.verdict.refusal is not None:
            raise ValueError(done.verdict.refusal)


WAYS: dict[str, Callable[[], Sales]] = {
    "compare-and-retry": CompareAndRetry,
    "lock": Locked,
    "combining": Combined,
}


@dataclass(frozen=True)
class Measured:
    """What one process saw: the seconds of each sale, the sales that failed, and the conditional writes sent."""

    latencies_s: list[float]
    failed: int
    writes: int


def sell_for(settings: Settings, way: str, product_id: UUID, buyers: int, seconds: float, start: Barrier) -> Measured:
    """Sell from `buyers` threads of this process for so long."""
    logs.configure("CRITICAL", "console")
    database = connections.connect(settings)
    connections.prepare_all(dao.REHEARSALS)
    sales = WAYS[way]()
    sales.sell(product_id)
    sales.writes = 0
    start.wait()
    end = time.monotonic() + seconds

    def buy(_: int) -> tuple[list[float], int]:
        latencies, failed = [], 0
        while (began := time.monotonic()) < end:
            with deadlines.deadline(REQUEST_S):
                try:
                    sales.sell(product_id)
                except Exception:  # noqa: BLE001 - a failed sale is counted, whatever it was
                    failed += 1
                else:
                    latencies.append(time.monotonic() - began)
        return latencies, failed

    with ThreadPoolExecutor(buyers) as pool:
        found = list(pool.map(buy, range(buyers)))
    database.close()
    latencies = [latency for part, _ in found for latency in part]
    return Measured(latencies, sum(failed for _, failed in found), sales.writes)


@dataclass(frozen=True)
class Row:
    """One measurement: sales in a second, seconds of a sale, sales for each conditional write."""

    way: str
    processes: int
    buyers: int
    sales_per_s: float
    p50_ms: float
    p99_ms: float
    sales_per_write: float
    failed: int


def measure(settings: Settings, way: str, processes: int, buyers: int, seconds: float) -> Row:
    """Sell one fresh product from so many processes with so many buyers in each, and sum it up."""
    database = connections.connect(settings)
    connections.prepare_all(dao.REHEARSALS)
    product = products.create({"name": "Hot", "sku": uuid4().hex, "price": Decimal(1)}, "CAD")
    stock_service.count(product.product_id, PLENTY, None)
    database.close()
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager:
        start = manager.Barrier(processes)
        with context.Pool(processes) as pool:
            args = (settings, way, product.product_id, buyers, seconds, start)
            parts = pool.starmap(sell_for, [args] * processes)
    latencies = sorted(latency for part in parts for latency in part.latencies_s)
    return Row(
        way=way,
        processes=processes,
        buyers=buyers,
        sales_per_s=round(len(latencies) / seconds, 1),
        p50_ms=round(1000 * statistics.median(latencies), 1),
        p99_ms=round(1000 * latencies[min(len(latencies) - 1, int(len(latencies) * 0.99))], 1),
        sales_per_write=round(len(latencies) / max(1, sum(part.writes for part in parts)), 2),
        failed=sum(part.failed for part in parts),
    )


def show(rows: list[Row]) -> None:
    """Print the median of each measurement over its repetitions, and the spread of its rate."""
    table = Table(title="One hot product, three nodes, RF 3: medians")
    for heading in ("way", "processes", "buyers", "sales/s", "(min-max)", "p50 ms", "p99 ms", "sales/write", "failed"):
        table.add_column(heading, justify="left" if heading == "way" else "right")
    grouped = itertools.groupby(rows, key=lambda row: (row.processes, row.buyers, row.way))
    for (processes, buyers, way), group in grouped:
        found = list(group)
        rates = [row.sales_per_s for row in found]
        table.add_row(
            way,
            str(processes),
            str(buyers),
            f"{statistics.median(rates):.0f}",
            f"{min(rates):.0f}-{max(rates):.0f}",
            f"{statistics.median(row.p50_ms for row in found):.1f}",
            f"{statistics.median(row.p99_ms for row in found):.1f}",
            f"{statistics.median(row.sales_per_write for row in found):.1f}",
            str(sum(row.failed for row in found)),
        )
    console.print(table)


def main() -> None:
    """Measure every way with every number of buyers and processes, in turn and repeated."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0, help="how long each measurement takes")
    parser.add_argument("--repeat", type=int, default=3, help="how often each is repeated")
    parser.add_argument("--buyers", type=int, nargs="+", default=[1, 16, 48])
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--json", help="where to write all measurements")
    options = parser.parse_args()
    console.print(stages.describe())
    with stages.cluster("hot-product", 3) as settings:
        jobs = [
            (way, processes, buyers)
            for _ in range(options.repeat)
            for processes in options.processes
            for buyers in options.buyers
            for way in WAYS
        ]
        rows = [measure(settings, *job, options.seconds) for job in track(jobs, "Selling", console=console)]
    rows.sort(key=lambda row: (row.processes, row.buyers, list(WAYS).index(row.way)))
    show(rows)
    if options.json:
        stages.write_json(options.json, [asdict(row) for row in rows])


if __name__ == "__main__":
    main()
