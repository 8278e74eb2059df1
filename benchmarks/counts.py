"""Counts of what a process sends to the database: every conditional write, and those of stocks among them.

Nothing of the store is changed: the driver's session is wrapped, and one function of the DAO is called through.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from functools import wraps
from typing import TYPE_CHECKING, Any

from cassandra.query import BoundStatement

from store_manager.dao import stocks
from store_manager.database.statements import Kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from store_manager.database.connections import Database


@dataclass
class Counts:
    """How many conditional writes were sent, refused ones included, and how many of them changed a stock."""

    conditional: int = 0
    stock: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def watch(self, database: Database) -> None:
        """Count what this process sends from now on."""
        database.session.raw = _CountedSession(database.session.raw, self)
        setattr(stocks, "commit", self._counted(stocks.commit))  # noqa: B010 - mypy knows the real one

    def take(self) -> dict[str, int]:
        """Return what was counted since the last time."""
        with self._lock:
            taken = {"conditional": self.conditional, "stock": self.stock}
            self.conditional = self.stock = 0
        return taken

    def add(self, *, conditional: int = 0, stock: int = 0) -> None:
        """Count what was sent."""
        with self._lock:
            self.conditional += conditional
            self.stock += stock

    def _counted(self, change: Callable[..., bool]) -> Callable[..., bool]:
        @wraps(change)
        def count_and_change(*args: Any) -> bool:
            self.add(stock=1)
            return change(*args)

        return count_and_change


class _CountedSession:
    """The driver's session; what it is not asked to count, it passes on."""

    def __init__(self, raw: Any, counts: Counts) -> None:
        self._raw = raw
        self._counts = counts

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)

    def execute_async(self, query: Any, **how: Any) -> Any:
        if how.get("execution_profile") == Kind.CONDITIONAL.value and not _is_read(query):
            self._counts.add(conditional=1)
        return self._raw.execute_async(query, **how)


def _is_read(query: Any) -> bool:
    """Tell whether it is a read that takes part in Paxos; batches never are."""
    return isinstance(query, BoundStatement) and query.prepared_statement.query_string.startswith("SELECT")
