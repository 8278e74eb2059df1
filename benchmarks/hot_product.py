"""How fast one product sells when many buy it at once, on three nodes: three ways to the same promise.

The ways are those of `benchmarks.ways`: compare-and-retry, a lock in the process, and combining, which is what the
store does. Each sells below HTTP (reservations), and by HTTP (orders of one unit, at servers of the store in which
only the writers of stock are another's), in the same run on the same cluster, in turn and repeated.

A conditional write is what a sale costs most, so sales are also told as a part of what the cluster could do: the
ceiling is how many conditional writes a second it takes when no two meet in a partition, as many as it does at best.

    python -m benchmarks.hot_product --seconds 10 --repeat 3 --json benchmarks/results/hot_product.json
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import statistics
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from rich.console import Console
from rich.progress import Progress

from benchmarks import bars, below_http, by_http, stages
from benchmarks.bars import Bar, quantile
from benchmarks.ways import PLENTY, WAYS
from store_manager import dao, logs
from store_manager.database import connections
from store_manager.services import products, stocks, users

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from benchmarks.below_http import Measured, Sellers
    from store_manager.settings import Settings

BELOW, BY_HTTP = "below HTTP", "by HTTP"
STORE, LOCK = "combining", "lock"
CEILING_THREADS = (16, 48)
BAR_BUYERS = 16
RUN = stages.LAB / "hot-product-run"

console = Console(highlight=False, width=stages.WIDTH)


@dataclass(frozen=True)
class Plan:
    """What is measured: each way, with so many buyers in all of so many processes, so long and so often."""

    seconds: float
    repeat: int
    buyers: list[int]
    processes: list[int]


@dataclass(frozen=True)
class Row:
    """One measurement. By HTTP a sale is an order; `ceiling` is conditional writes a second, of its repetition."""

    level: str
    way: str
    processes: int
    buyers: int
    sales_per_s: float
    p50_ms: float
    p99_ms: float
    reservations_per_write: float
    writes_per_sale: float
    failed: int
    ceiling: float

    @property
    def key(self) -> tuple[str, int, int, str]:
        """What its repetitions share."""
        return self.level, self.processes, self.buyers, self.way

    @property
    def of_ceiling(self) -> float:
        """Sales a second, over those that the ceiling allows for."""
        return self.sales_per_s * self.writes_per_sale / self.ceiling


def row_of(measured: Measured, seconds: float, **of_row: Any) -> Row:
    """Sum a measurement up."""
    sales = len(measured.latencies_s)
    return Row(
        sales_per_s=round(sales / seconds, 1),
        p50_ms=round(1000 * quantile(measured.latencies_s, 0.5), 1),
        p99_ms=round(1000 * quantile(measured.latencies_s, 0.99), 1),
        reservations_per_write=round(sales / max(1, measured.stock), 2),
        writes_per_sale=round(measured.conditional / max(1, sales), 2),
        failed=measured.failed,
        **of_row,
    )


def new_product() -> UUID:
    """Return a product of which there is plenty."""
    product_id: UUID = products.create({"name": "Hot", "sku": uuid4().hex, "price": Decimal(1)}, "CAD").product_id
    stocks.count(product_id, PLENTY, None)
    return product_id


def measure(settings: Settings, sellers: Sellers, plan: Plan) -> Iterator[Row]:
    """Measure everything, one repetition after the other."""
    user = users.create({"name": "Buyer", "email": f"{uuid4().hex}@example.ca"})
    warm_up(sellers, plan)
    for _ in range(plan.repeat):
        ceiling = find_ceiling(sellers, plan.seconds)
        yield from sell_below(sellers, plan, ceiling)
        yield from sell_by_http(settings, plan, ceiling, user.user_id)


def find_ceiling(sellers: Sellers, seconds: float) -> float:
    """Return the most conditional writes a second that any number of threads gets done, none in another's way."""
    found = [sellers.find_ceiling(processes(), threads, seconds) for threads in CEILING_THREADS]
    console.print(f"Ceiling: {max(found):.0f} conditional writes a second on distinct partitions")
    return max(found)


def processes() -> int:
    """Return how many processes keep this machine busy."""
    return max(2, os.cpu_count() or 1)


def warm_up(sellers: Sellers, plan: Plan) -> None:
    """Let everything run once that is slow when it runs for the first time."""
    sellers.find_ceiling(processes(), BAR_BUYERS, plan.seconds)
    sellers.sell(STORE, new_product(), 1, BAR_BUYERS, plan.seconds)


def sell_below(sellers: Sellers, plan: Plan, ceiling: float) -> Iterator[Row]:
    """Reserve units of a fresh product by each way, with all numbers of processes and buyers."""
    for number, buyers, way in itertools.product(plan.processes, plan.buyers, WAYS):
        if buyers >= number:
            measured = sellers.sell(way, new_product(), number, buyers // number, plan.seconds)
            of_row = {"level": BELOW, "way": way, "processes": number, "buyers": buyers, "ceiling": ceiling}
            yield row_of(measured, plan.seconds, **of_row)


def sell_by_http(settings: Settings, plan: Plan, ceiling: float, user_id: UUID) -> Iterator[Row]:
    """Order units of a fresh product from servers of each way, with all numbers of servers and buyers."""
    for number, way in itertools.product(plan.processes, WAYS):
        with by_http.servers(settings, way, number, max(plan.buyers), RUN) as servers:
            for buyers in plan.buyers:
                measured = by_http.place_orders(servers, new_product(), user_id, buyers, plan.seconds)
                of_row = {"level": BY_HTTP, "way": way, "processes": number, "buyers": buyers, "ceiling": ceiling}
                yield row_of(measured, plan.seconds, **of_row)


@dataclass(frozen=True)
class Summary:
    """The medians of one measurement's repetitions, and how far its rates lie apart."""

    sales_per_s: float
    slowest: float
    fastest: float
    p50_ms: float
    p99_ms: float
    reservations_per_write: float
    writes_per_sale: float
    of_ceiling: float
    failed: int


def sum_up(rows: list[Row]) -> dict[tuple[str, int, int, str], Summary]:
    """Return a summary for each thing that was measured, in the order of the tables."""
    ordered = sorted(rows, key=lambda row: (row.level != BELOW, row.processes, row.buyers, list(WAYS).index(row.way)))
    return {key: _sum_up(list(group)) for key, group in itertools.groupby(ordered, key=lambda row: row.key)}


def _sum_up(rows: list[Row]) -> Summary:
    rates = [row.sales_per_s for row in rows]
    return Summary(
        sales_per_s=statistics.median(rates),
        slowest=min(rates),
        fastest=max(rates),
        p50_ms=statistics.median(row.p50_ms for row in rows),
        p99_ms=statistics.median(row.p99_ms for row in rows),
        reservations_per_write=statistics.median(row.reservations_per_write for row in rows),
        writes_per_sale=statistics.median(row.writes_per_sale for row in rows),
        of_ceiling=statistics.median(row.of_ceiling for row in rows),
        failed=sum(row.failed for row in rows),
    )


def hold(found: dict[tuple[str, int, int, str], Summary]) -> list[Bar]:
    """Hold combining, below HTTP in one process, against those of its bars for which something was measured."""
    store = found.get((BELOW, 1, BAR_BUYERS, STORE))
    lock = found.get((BELOW, 1, BAR_BUYERS, LOCK))
    alone = found.get((BELOW, 1, 1, STORE))
    if store is None:
        return []
    held = [Bar("reservations for each conditional write", store.reservations_per_write, 5, at_least=True)]
    if lock is not None:
        held.append(
            Bar("sales a second, times those of the lock", store.sales_per_s / lock.sales_per_s, 5, at_least=True)
        )
    if alone is not None:
        held.append(Bar("p99, times the p50 of a sale without others", store.p99_ms / alone.p50_ms, 4, at_least=False))
    return held


def show(found: dict[tuple[str, int, int, str], Summary]) -> None:
    """Print a table for sales below HTTP, and one for orders."""
    for level, thing in ((BELOW, "sales"), (BY_HTTP, "orders")):
        console.print(f"\nOne hot product {level}, three nodes, RF 3: medians")
        table = stages.table(
            *("processes", "buyers", "way", f"{thing}/s", "(min-max)", "p50 ms", "p99 ms"),
            *("reservations/write", f"writes/{thing[:-1]}", "of ceiling", "failed"),
        )
        for (at, number, buyers, way), one in found.items():
            if at == level:
                table.add_row(
                    *(str(number), str(buyers), way, f"{one.sales_per_s:.0f}", f"{one.slowest:.0f}-{one.fastest:.0f}"),
                    *(f"{one.p50_ms:.1f}", f"{one.p99_ms:.1f}", f"{one.reservations_per_write:.2f}"),
                    *(f"{one.writes_per_sale:.2f}", f"{one.of_ceiling:.2f}", str(one.failed)),
                )
        console.print(table)


def read_plan() -> tuple[Plan, str | None]:
    """Return what the command line asks for, and where to write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0, help="how long each measurement takes")
    parser.add_argument("--repeat", type=int, default=3, help="how often each is repeated")
    parser.add_argument("--buyers", type=int, nargs="+", default=[1, 16, 48], help="how many buy, in all processes")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2], choices=[1, 2, 3, 4])
    parser.add_argument("--json", help="where to write all measurements")
    options = parser.parse_args()
    return Plan(options.seconds, options.repeat, options.buyers, options.processes), options.json


def main() -> None:
    """Measure, show, and say of each bar whether it was met."""
    plan, path = read_plan()
    console.print(stages.describe())
    logs.configure("CRITICAL", "console")
    shutil.rmtree(RUN, ignore_errors=True)
    with stages.cluster("hot-product", 3) as cluster:
        settings = stages.prepare(cluster)
        database = connections.connect(settings)
        connections.prepare_all(dao.REHEARSALS)
        most = max(processes(), *plan.processes)
        total = plan.repeat * len(WAYS) * sum(1 + (buyers >= n) for n in plan.processes for buyers in plan.buyers)
        with below_http.sellers(settings, most) as sellers, Progress(console=console, transient=True) as progress:
            rows = list(progress.track(measure(settings, sellers, plan), total=total, description="Selling"))
        database.close()
    found = sum_up(rows)
    held = hold(found)
    show(found)
    bars.show(held, console)
    if path:
        stages.write_json(path, [asdict(row) for row in rows], bars=[str(bar) for bar in held])


if __name__ == "__main__":
    main()
