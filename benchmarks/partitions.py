"""What Cassandra says of one stock partition and of its table: rows, bytes, and what a single statement has to touch.

The virtual tables of Cassandra 4.1 know tombstones and rows a read, but not sstables a read; a trace knows both, for
the very statement that it follows.
"""

from __future__ import annotations

import re
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cassandra.query import TraceUnavailable

from store_manager.dao import scans

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path
    from uuid import UUID

    from store_manager.database.connections import Database
    from store_manager.lab.clusters import Cluster

TRACE_WAIT_S = 5.0
TABLE = "stocks"
MOST_VERSIONS = 2**62
_SSTABLE = re.compile(r"(?:Key cache hit|Partition index with \d+ entries found) for sstable (\d+)")
_TOMBSTONES = re.compile(r"Read \d+ live rows and (\d+) tombstone cells")


@dataclass(frozen=True)
class Touched:
    """What a statement had to touch, at the replica that touched most."""

    sstables: int
    tombstones: int


def touched_in(events: Iterable[tuple[str, str]]) -> Touched:
    """Sum up the events of a statement's trace: of each the node, and what it did."""
    sstables: defaultdict[str, set[str]] = defaultdict(set)
    tombstones = [0]
    for node, event in events:
        sstables[node].update(_SSTABLE.findall(event))
        tombstones += map(int, _TOMBSTONES.findall(event))
    return Touched(max(map(len, sstables.values()), default=0), max(tombstones))


def touch(database: Database, act: Callable[[], object]) -> Touched:
    """Carry something out with every statement traced, and return the most that one of them touched."""
    with _traced(database) as futures:
        act()
    found = [touched_in(_events_of(future)) for future in futures]
    return Touched(max(one.sstables for one in found), max(one.tombstones for one in found))


@contextmanager
def _traced(database: Database) -> Iterator[list[Any]]:
    """Trace whatever any thread of this process sends meanwhile."""
    raw, futures = database.session.raw, []

    class TracedSession:
        def __getattr__(self, name: str) -> Any:
            return getattr(raw, name)

        def execute_async(self, query: Any, **how: Any) -> Any:
            futures.append(raw.execute_async(query, **how | {"trace": True}))
            return futures[-1]

    database.session.raw = TracedSession()
    try:
        yield futures
    finally:
        database.session.raw = raw


def _events_of(future: Any) -> list[tuple[str, str]]:
    try:
        return [(event.source, event.description) for event in future.get_query_trace(TRACE_WAIT_S).events]
    except TraceUnavailable:
        return []


@dataclass(frozen=True)
class Size:
    """The live rows of a stock partition, and what the node that keeps most of its table keeps.

    `tombstones_a_read` is the most that any read of the table has met since the node started.
    """

    movements: int
    operations: int
    partition_mib: float
    table_mib: float
    sstables: int
    tombstones_a_read: int


def measure(database: Database, cluster: Cluster, product_id: UUID) -> Size:
    """Count the live rows of a stock partition, and look at what the nodes keep of its table."""
    movements = sum(1 for _ in scans.walk_recent(product_id, until=MOST_VERSIONS))
    entries = sum(len(page) for page in scans.walk_partition(product_id))
    files = [_data_files(node.directory, database.keyspace) for node in cluster.nodes]
    return Size(
        movements=movements,
        operations=entries - 1,
        partition_mib=max(_ask_nodes(database, "max_partition_size", "mebibytes")),
        table_mib=round(max(sum(path.stat().st_size for path in of_node) for of_node in files) / 2**20, 1),
        sstables=max(len(of_node) for of_node in files),
        tombstones_a_read=int(max(_ask_nodes(database, "tombstones_per_read", "max"))),
    )


def _data_files(directory: Path, keyspace: str | None) -> list[Path]:
    return list((directory / "data" / str(keyspace)).glob(f"{TABLE}-*/*-Data.db"))


def _ask_nodes(database: Database, view: str, column: str) -> list[float]:
    """Return what each node's virtual table says of the table; each node only knows itself."""
    query = f"SELECT * FROM system_views.{view}"  # noqa: S608 - the names stand in this module
    rows = (row for host in database.raw.hosts for row in database.raw.execute(query, host=host))
    return [row[column] or 0 for row in rows if (row["keyspace_name"], row["table_name"]) == (database.keyspace, TABLE)]
