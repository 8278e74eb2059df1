"""Whether a product sells, after a million sales, as fast as a fresh one, and what its partition holds then.

A crowd of buyers buys one product on three nodes, below HTTP, through the store's own writers. A sale is whole (a unit
is reserved, then handed over), so that its rows may leave the partition; those of the last minute stay. After each
tenth the crowd rests, and reads and sales of the hot product take turns with those of a product that was never sold.

    python -m benchmarks.million_sales --json benchmarks/results/million_sales.json
    python -m benchmarks.million_sales --sales 20000 --samples 50
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import asdict, dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING
from uuid import uuid4

from rich.console import Console
from rich.progress import Progress

from benchmarks import partitions, stages
from benchmarks.bars import Bar, quantile
from benchmarks.bars import show as show_bars
from benchmarks.crowds import Crowd, hand_over
from benchmarks.ways import PLENTY, sale
from store_manager import dao, logs, memory
from store_manager.dao import stocks
from store_manager.database import connections
from store_manager.services.findings import Patience
from store_manager.services.rules import Operation, Verb
from store_manager.services.stock_audits import StockWalk
from store_manager.services.stock_writers import StockWriters, await_done

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from benchmarks.partitions import Size, Touched
    from store_manager.database.connections import Database
    from store_manager.lab.clusters import Cluster
    from store_manager.services.findings import Finding

TENTHS = 10
PAGE = 100
PATIENCE = timedelta(seconds=30)
MOST_SLOWER = 1.2
"""How many times as long as with a fresh product a read or a sale may take."""

console = Console(highlight=False, width=stages.WIDTH)


@dataclass(frozen=True)
class Medians:
    """How long one thing at a time takes, in milliseconds."""

    read_ms: float
    serial_read_ms: float
    sale_ms: float


@dataclass(frozen=True)
class Tenth:
    """What was seen after a tenth of all sales; `touched` is what each kind of statement had to touch."""

    sold: int
    sales_per_s: float
    p50_ms: float
    p99_ms: float
    failed: int
    hot: Medians
    control: Medians
    touched: dict[str, Touched]
    size: Size


@dataclass(frozen=True)
class Shop:
    """The store below HTTP, and what it stands on."""

    cluster: Cluster
    database: Database
    writers: StockWriters

    def new_product(self) -> UUID:
        """Return a product of which there is plenty."""
        product_id = uuid4()
        self._carry_out(product_id, Operation(Verb.COUNT, uuid4(), PLENTY))
        return product_id

    def sell(self, product_id: UUID) -> Operation:
        """Reserve one unit, and return what did it."""
        return self._carry_out(product_id, sale())

    def hand_over(self, product_id: UUID, reserved: Operation) -> None:
        """Take a reserved unit from what is on hand."""
        self._carry_out(product_id, hand_over(reserved))

    def _carry_out(self, product_id: UUID, operation: Operation) -> Operation:
        await_done(self.writers.submit(product_id, operation))
        return operation


class Stopwatch:
    """Reads and sells one product, one thing at a time, and keeps how long each took."""

    def __init__(self, shop: Shop, product_id: UUID) -> None:
        self._shop = shop
        self._product_id = product_id
        self._reads_s: list[float] = []
        self._serial_reads_s: list[float] = []
        self._sales_s: list[float] = []

    def go_round(self) -> None:
        """Take every time once."""
        began_s = time.monotonic()
        stocks.find(self._product_id)
        read_s = time.monotonic()
        stocks.find(self._product_id, serial=True)
        serial_read_s = time.monotonic()
        sold = self._shop.sell(self._product_id)
        sold_s = time.monotonic()
        self._reads_s.append(read_s - began_s)
        self._serial_reads_s.append(serial_read_s - read_s)
        self._sales_s.append(sold_s - serial_read_s)
        self._shop.hand_over(self._product_id, sold)

    def medians(self) -> Medians:
        """Return the median of each."""
        return Medians(
            *(round(1000 * statistics.median(some), 2) for some in (self._reads_s, self._serial_reads_s, self._sales_s))
        )


def compare(shop: Shop, hot: UUID, samples: int) -> tuple[Medians, Medians]:
    """Let the hot product and a fresh one take turns; return the medians of each."""
    watches = [Stopwatch(shop, hot), Stopwatch(shop, shop.new_product())]
    for _ in range(samples):
        watches.reverse()  # none of them always follows the other
        for watch in watches:
            watch.go_round()
    one, other = watches if samples % 2 == 0 else reversed(watches)
    return one.medians(), other.medians()


def look_inside(shop: Shop, product_id: UUID) -> dict[str, Touched]:
    """Return what reads and a sale have to touch, the page included that reaches into what has left."""
    head = stocks.find(product_id)
    if head is None:
        raise LookupError(product_id)
    acts: dict[str, Callable[[], object]] = {
        "read": partial(stocks.find, product_id),
        "serial read": partial(stocks.find, product_id, serial=True),
        "sale": partial(_sell_whole, shop, product_id),
        "movements": partial(stocks.list_movements, head, before=head.version + 1, limit=PAGE),
        "older movements": partial(stocks.list_movements, head, before=head.drained + PAGE // 2, limit=PAGE),
    }
    return {name: partitions.touch(shop.database, act) for name, act in acts.items()}


def _sell_whole(shop: Shop, product_id: UUID) -> None:
    shop.hand_over(product_id, shop.sell(product_id))


def run(shop: Shop, sales: int, buyers: int, samples: int, progress: Progress) -> tuple[list[Tenth], list[Finding]]:
    """Sell one product so many times; return what was seen after each tenth, and what an audit finds in the end."""
    product_id = shop.new_product()
    compare(shop, product_id, samples)  # what runs for the first time is slow
    task = progress.add_task("Selling", total=sales)
    tenths = []
    for number in range(1, TENTHS + 1):
        crowd = Crowd(shop.writers, product_id, buyers, told=partial(progress.advance, task))
        seconds = crowd.sell(sales * number // TENTHS - sales * (number - 1) // TENTHS)
        size = partitions.measure(shop.database, shop.cluster, product_id)
        hot, control = compare(shop, product_id, samples)
        tenth = Tenth(
            sold=sales * number // TENTHS,
            sales_per_s=round(len(crowd.latencies_s) / seconds, 1),
            p50_ms=round(1000 * quantile(crowd.latencies_s, 0.5), 1),
            p99_ms=round(1000 * quantile(crowd.latencies_s, 0.99), 1),
            failed=len(crowd.failed),
            hot=hot,
            control=control,
            touched=look_inside(shop, product_id),
            size=size,
        )
        progress.console.print(line(tenth))
        tenths.append(tenth)
    progress.update(task, description="Audit of the stock")
    return tenths, StockWalk(Patience(PATIENCE)).look(product_id)


def line(tenth: Tenth) -> str:
    """Return what was seen as a line for people."""
    return (
        f"{tenth.sold:>9,} sold, {tenth.sales_per_s:.0f}/s; read {tenth.hot.read_ms} ms ({tenth.control.read_ms}), "
        f"SERIAL read {tenth.hot.serial_read_ms} ms ({tenth.control.serial_read_ms}), "
        f"sale {tenth.hot.sale_ms} ms ({tenth.control.sale_ms})"
    )


def bars(last: Tenth) -> list[Bar]:
    """Hold the hot product of the last tenth against the fresh one."""
    pairs = {
        "read": (last.hot.read_ms, last.control.read_ms),
        "SERIAL read": (last.hot.serial_read_ms, last.control.serial_read_ms),
        "sale": (last.hot.sale_ms, last.control.sale_ms),
    }
    return [
        Bar(f"{name} of the hot product, times that of a fresh one", hot / control, MOST_SLOWER, at_least=False)
        for name, (hot, control) in pairs.items()
    ]


def show(tenths: list[Tenth]) -> None:
    """Print a row for each tenth."""
    console.print("\nThe crowd's sales; medians in ms of one thing at a time, of the hot product / of a fresh one")
    speed = stages.table("sold", "sales/s", "p50", "p99", "failed", "read", "SERIAL read", "sale")
    inside = stages.table("sold", "movements", "operations", "MiB", "table MiB", *tenths[0].touched)
    for tenth in tenths:
        hot, control = tenth.hot, tenth.control
        speed.add_row(
            *(f"{tenth.sold:,}", f"{tenth.sales_per_s:.0f}", f"{tenth.p50_ms}", f"{tenth.p99_ms}", str(tenth.failed)),
            f"{hot.read_ms} / {control.read_ms}",
            f"{hot.serial_read_ms} / {control.serial_read_ms}",
            f"{hot.sale_ms} / {control.sale_ms}",
        )
        size = tenth.size
        inside.add_row(
            *(f"{tenth.sold:,}", f"{size.movements:,}", f"{size.operations:,}"),
            *(f"{size.partition_mib:.0f}", f"{size.table_mib}"),
            *(f"{touched.sstables} / {touched.tombstones}" for touched in tenth.touched.values()),
        )
    console.print(speed)
    console.print("\nThe hot product's partition; sstables / tombstones that one statement touches")
    console.print(inside)


def main() -> None:
    """Sell, show, and hold the last tenth against its bars."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sales", type=int, default=1_000_000, help="how many units are sold")
    parser.add_argument("--buyers", type=int, default=64, help="how many buy at the same time")
    parser.add_argument("--samples", type=int, default=200, help="of how many each median is taken")
    parser.add_argument("--json", help="where to write everything that was seen")
    options = parser.parse_args()
    console.print(stages.describe())
    logs.configure("CRITICAL", "console")
    with stages.cluster("million-sales", 3, thorough=True) as cluster:
        settings = stages.prepare(cluster)
        database = connections.connect(settings)
        connections.prepare_all(dao.REHEARSALS)
        memory.settle()
        with Progress(console=console) as progress:
            shop = Shop(cluster, database, StockWriters())
            tenths, findings = run(shop, options.sales, options.buyers, options.samples, progress)
        database.close()
    show(tenths)
    held = bars(tenths[-1])
    show_bars(held, console)
    console.print(f"Audit of the stock: {len(findings)} findings", *(finding.what for finding in findings), sep="\n")
    if options.json:
        rows = [asdict(tenth) for tenth in tenths]
        stages.write_json(options.json, rows, bars=[str(bar) for bar in held], audit=[one.what for one in findings])


if __name__ == "__main__":
    main()
