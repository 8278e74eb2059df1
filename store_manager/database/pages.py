"""Results a page at a time, for whoever walks a whole table: nothing is kept but the page at hand.

Iterating a cqlengine queryset keeps every row that it has ever yielded. Which tables are walked stands in
`store_manager.dao.scans`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cassandra.metadata import Murmur3Token
from cassandra.query import SimpleStatement

from store_manager.rings import RING_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable

    from cassandra.cqlengine.query import ModelQuerySet

    from store_manager.database.sessions import Rows

PROTOCOL = 5


@dataclass(frozen=True)
class RowPage:
    """Some of the rows of a query, as the queryset makes them."""

    items: list[Any]
    rows: Rows
    make: Callable[[dict[str, Any]], Any]

    def read_next(self) -> RowPage | None:
        """Ask for the page that follows, None at the end; it may be asked for again when no answer came."""
        following = self.rows.read_next()
        return None if following is None else _make_page(following, self.make)


def read_first(queryset: ModelQuerySet) -> RowPage:
    """Ask for the first page of a query; `queryset.fetch_size` says how many rows a page has at most."""
    make = queryset._maybe_inject_deferred(queryset._get_result_constructor())
    return _make_page(queryset._execute(queryset._select_query()), make)


def _make_page(rows: Rows, make: Callable[[dict[str, Any]], Any]) -> RowPage:
    return RowPage([make(row) for row in rows.current_rows], rows, make)


def find_place_on_ring(model: Any, row: Any) -> float:
    """Return how far round the ring a row's partition is, from 0 to 1: tables are walked in this order.

    The row has attributes of the names of its Model's columns.
    """
    parts = [column.to_database(getattr(row, name)) for name, column in model._partition_keys.items()]
    statement = SimpleStatement("")
    statement.routing_key = model._key_serializer(parts, PROTOCOL)  # the driver joins the parts
    return float(Murmur3Token.from_key(statement.routing_key).value / RING_SIZE + 0.5)
