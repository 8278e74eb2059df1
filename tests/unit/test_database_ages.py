"""How old a keyspace is held to be, and how long it may take to ask."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from cassandra import ConsistencyLevel, OperationTimedOut
from cassandra.query import BoundStatement

from store_manager.database import ages
from store_manager.database.ages import Ages, ask_ages
from store_manager.database.deadlines import deadline
from store_manager.database.sessions import PreparingSession
from store_manager.errors import DatabaseUnavailable
from store_manager.schema import books, histories

MADE = datetime(2026, 11, 1)  # noqa: DTZ001 - the times of the database are naive UTC
CHANGED = datetime(2026, 11, 20)  # noqa: DTZ001
READ_TIMEOUT_S = 2.0


def known_with(*tables: str) -> Any:
    """What the driver knows of a keyspace with these tables."""
    keyspaces = {"store": SimpleNamespace(tables=dict.fromkeys(tables))}
    return SimpleNamespace(metadata=SimpleNamespace(keyspaces=keyspaces, all_hosts=list))


class FakeFuture:
    """Stands for the driver's future: one node was asked, and answers or keeps silent."""

    attempted_hosts = ("node",)
    coordinator_host = SimpleNamespace(address="10.0.0.1")
    _errors: tuple[()] = ()
    _query_traces = None
    _current_host = None
    _event = SimpleNamespace(wait=lambda _s: True)

    def __init__(self, rows: list[dict[str, Any]] | None) -> None:
        self._rows = rows

    def result(self) -> Any:
        if self._rows is None:
            raise OperationTimedOut
        return SimpleNamespace(current_rows=self._rows, paging_state=None, response_future=self)


class FakeBound(BoundStatement):  # type: ignore[misc]
    """Stands for the driver's bound statement, and knows its table."""

    routing_key = None

    def __init__(self, shape: str, values: list[Any]) -> None:
        self.prepared_statement = SimpleNamespace(query_id=shape.encode(), routing_key_indexes=None)
        self.keyspace, _, self.table = shape.partition(" FROM ")[2].partition(" ")[0].partition(".")
        self.values = values


class FakeRaw:
    """Stands for the driver's session: answers of each table, None where no node does, and notes what went out."""

    def __init__(self, tables: dict[str, Any], cluster: Any) -> None:
        self.cluster = cluster
        self.sent: list[tuple[Any, float]] = []
        self._tables = tables

    def prepare(self, shape: str) -> Any:
        return SimpleNamespace(bind=lambda values: FakeBound(shape, values))

    def get_execution_profile(self, _name: Any) -> Any:
        return SimpleNamespace(request_timeout=READ_TIMEOUT_S, consistency_level=ConsistencyLevel.LOCAL_QUORUM)

    def execute_async(self, query: FakeBound, *, timeout: float, **_: Any) -> FakeFuture:
        self.sent.append((query, timeout))
        return FakeFuture(self._tables[query.table])


def raw_with(*events: datetime, altered_at: datetime = CHANGED, has_history: bool = True) -> FakeRaw:
    made_us = altered_at.replace(tzinfo=UTC).timestamp() * 1_000_000
    tables = {
        "keyspaces": [{"made_us": made_us}],
        "tables": [{"gc_grace_seconds": 864_000}, {"gc_grace_seconds": 3_600}],
        "schema_history": [{"began_at": at} for at in events],
    }
    return FakeRaw(tables, known_with("products", *(["schema_history"] if has_history else [])))


def ask(raw: FakeRaw) -> Ages | None:
    nothing_missing = SimpleNamespace(find_shortage=lambda *_: None, factor_of=lambda _: None)
    session = PreparingSession(
        raw,
        serial_consistency=ConsistencyLevel.LOCAL_SERIAL,
        replicas=cast("Any", nothing_missing),
        prober=cast("Any", SimpleNamespace(suspect=lambda _: None)),
        shortage_timeout_s=0.5,
    )
    return ask_ages(session, "store")


def test_a_change_of_a_table_makes_a_keyspace_no_younger() -> None:
    assert ask(raw_with(MADE, altered_at=CHANGED)) == Ages(MADE, timedelta(hours=1))


def test_a_keyspace_may_be_older_than_its_history() -> None:
    assert ask(raw_with(CHANGED, altered_at=MADE)) == Ages(MADE, timedelta(hours=1))


@pytest.mark.parametrize("has_history", [True, False], ids=["empty", "none"])
def test_without_a_history_the_last_change_is_all_that_is_known(*, has_history: bool) -> None:
    assert ask(raw_with(has_history=has_history)) == Ages(CHANGED, timedelta(hours=1))


def test_the_history_is_where_the_schema_tools_write_it() -> None:
    assert (books.SchemaEvent.__table_name__, histories.BOOK) == (ages.HISTORY, ages.BOOK)


def test_the_age_is_asked_for_as_a_read_is_and_within_the_request() -> None:
    raw = raw_with(MADE)
    ask(raw)
    assert [timeout for _, timeout in raw.sent] == [READ_TIMEOUT_S] * 3
    assert all(query.is_idempotent for query, _ in raw.sent), "a second node is asked while the first is silent"
    with deadline(0.5):
        ask(raw)
    assert all(timeout <= 0.5 for _, timeout in raw.sent[3:])


def test_a_node_that_does_not_answer_is_not_an_age() -> None:
    raw = raw_with()
    raw._tables["keyspaces"] = None
    with pytest.raises(DatabaseUnavailable):
        ask(raw)
