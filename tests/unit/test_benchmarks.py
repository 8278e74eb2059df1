"""What the benchmarks of sales count, sum up and hold themselves to, without a database."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from unittest.mock import create_autospec
from uuid import UUID, uuid4

import pytest
from cassandra.query import BatchStatement, BoundStatement

from benchmarks import below_http, hot_product, million_sales
from benchmarks.bars import Bar, quantile
from benchmarks.counts import Counts
from benchmarks.crowds import Crowd
from benchmarks.hot_product import BELOW, BY_HTTP, Row, hold, row_of, sum_up
from benchmarks.million_sales import Medians
from benchmarks.partitions import Touched, touched_in
from benchmarks.ways import CompareAndRetry, Locked, sell
from store_manager.dao import conditional, stocks
from store_manager.errors import Contended, DatabaseUnavailable
from store_manager.models import Stock
from store_manager.services.rules import Balance, Operation, Refusal, Verb, Verdict
from store_manager.services.stock_writers import Done

ROW = Row(BELOW, "combining", 1, 16, 100.0, 20.0, 40.0, 8.0, 0.125, failed=0, ceiling=50.0)


def test_a_bar_is_met_at_its_bound_and_missed_beyond_it() -> None:
    assert Bar("sales", 5.0, 5, at_least=True).met
    assert not Bar("sales", 4.99, 5, at_least=True).met
    assert Bar("p99", 4.0, 4, at_least=False).met
    assert str(Bar("p99", 4.01, 4, at_least=False)) == "NOT MET: p99: 4.01, at most 4"


def test_a_quantile_is_one_of_the_values() -> None:
    assert quantile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert quantile([3.0, 1.0, 2.0], 0.99) == 3.0
    assert quantile([], 0.5) == 0.0


def test_sales_are_told_as_a_part_of_what_the_ceiling_allows_for() -> None:
    measured = below_http.Measured([0.010] * 300, failed=1, conditional=660, stock=60)
    row = row_of(measured, 3.0, level=BY_HTTP, way="combining", processes=1, buyers=16, ceiling=1000.0)
    assert (row.sales_per_s, row.reservations_per_write, row.writes_per_sale) == (100.0, 5.0, 2.2)
    assert row.of_ceiling == pytest.approx(100.0 / (1000.0 / 2.2))


def test_repetitions_are_summed_up_by_their_medians_and_their_spread() -> None:
    rows = [replace(ROW, sales_per_s=rate, failed=1) for rate in (90.0, 120.0, 100.0)]
    found = sum_up([*rows, replace(ROW, level=BY_HTTP), replace(ROW, way="lock")])
    assert [key[0] for key in found] == [BELOW, BELOW, BY_HTTP]
    store = found[BELOW, 1, 16, "combining"]
    assert (store.sales_per_s, store.slowest, store.fastest, store.failed) == (100.0, 90.0, 120.0, 3)


def test_the_store_is_held_to_the_lock_and_to_a_sale_without_others() -> None:
    rows = [
        ROW,
        replace(ROW, way="lock", sales_per_s=21.0),
        replace(ROW, buyers=1, p50_ms=9.0),
        replace(ROW, level=BY_HTTP, sales_per_s=1.0),
    ]
    assert [(bar.found, bar.met) for bar in hold(sum_up(rows))] == [
        (8.0, True),
        (pytest.approx(4.76, abs=0.01), False),
        (pytest.approx(4.44, abs=0.01), False),
    ]
    assert len(hold(sum_up([ROW]))) == 1
    assert hold(sum_up([replace(ROW, level=BY_HTTP)])) == []


def test_the_last_tenth_is_held_against_the_fresh_product() -> None:
    last = SimpleNamespace(hot=Medians(2.4, 3.0, 12.1), control=Medians(2.0, 3.0, 10.0))
    assert [bar.met for bar in million_sales.bars(last)] == [True, True, False]  # type: ignore[arg-type]


def test_a_trace_is_summed_up_for_the_node_that_touched_most() -> None:
    events = [
        ("one", "Key cache hit for sstable 7"),
        ("one", "Partition index with 12 entries found for sstable 8"),
        ("one", "Key cache hit for sstable 7"),
        ("one", "Bloom filter allows skipping sstable 9"),
        ("two", "Key cache hit for sstable 3"),
        ("two", "Read 1 live rows and 12 tombstone cells"),
        ("one", "Read 1 live rows and 0 tombstone cells"),
    ]
    assert touched_in(events) == Touched(sstables=2, tombstones=12)
    assert touched_in([]) == Touched(0, 0)


class Refusing:
    """Writers that fail every third operation, and note all."""

    def __init__(self) -> None:
        self.asked: list[tuple[Verb, UUID]] = []

    def submit(self, _product_id: UUID, operation: Operation) -> Future[Done]:
        self.asked.append((operation.verb, operation.operation_id))
        future: Future[Done] = Future()
        if len(self.asked) % 3 == 0:
            future.set_exception(DatabaseUnavailable("planted"))
        else:
            future.set_result(Done(Verdict(operation, Balance()), None))
        return future


def test_a_crowd_hands_over_what_it_has_reserved_and_ends_when_enough_was_sold() -> None:
    writers, sold = Refusing(), []
    crowd = Crowd(writers, uuid4(), buyers=3, told=lambda: sold.append(1))
    crowd.sell(20)
    reserved = [key for verb, key in writers.asked if verb is Verb.RESERVE]
    assert len(set(reserved)) == 20
    assert {key for verb, key in writers.asked if verb is Verb.FULFIL} <= set(reserved)
    assert len(crowd.failed) == len(writers.asked) // 3
    assert len(sold) == len(crowd.latencies_s) > 5


def test_a_refused_sale_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stocks, "find", lambda _: None)
    with pytest.raises(Contended, match=Refusal.SHORT):
        sell(CompareAndRetry(), uuid4())


@pytest.mark.parametrize("way", [CompareAndRetry, Locked])
def test_a_rival_sells_each_unit_once_although_others_are_faster(way: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    product_id = uuid4()
    heads = [_head(product_id, version) for version in (1, 5)]
    committed: list[tuple[int, int]] = []

    def commit(before: Stock, after: Stock, _changes: object) -> bool:
        committed.append((before.version, after.version))
        return bool(before.version >= 5)

    monkeypatch.setattr(conditional, "FIRST_PAUSE_S", 0.0)
    monkeypatch.setattr(stocks, "find", lambda _: heads.pop(0))
    monkeypatch.setattr(stocks, "commit", commit)
    sell(way(), product_id)
    assert committed == [(1, 2), (5, 6)]


def _head(product_id: UUID, version: int) -> Stock:
    return Stock(product_id=product_id, on_hand=9, reserved=0, version=version, drained=0)


def test_conditional_writes_are_counted_and_reads_at_serial_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stocks, "commit", lambda *_: True)
    counts, sent = Counts(), []
    raw = SimpleNamespace(execute_async=lambda query, **_: sent.append(query), keyspace="shop")
    database: Any = SimpleNamespace(session=SimpleNamespace(raw=raw))
    counts.watch(database)
    read = create_autospec(BoundStatement, instance=True)
    read.prepared_statement = SimpleNamespace(query_string='SELECT "version" FROM stocks')
    for query, profile in ((read, "conditional"), (BatchStatement(), "conditional"), (BatchStatement(), "write")):
        database.session.raw.execute_async(query, execution_profile=profile)
    stocks.commit(None, None, [])  # type: ignore[arg-type]
    assert len(sent) == 3
    assert database.session.raw.keyspace == "shop"
    assert counts.take() == {"conditional": 1, "stock": 1}
    assert counts.take() == {"conditional": 0, "stock": 0}


def test_the_plan_measures_no_process_without_a_buyer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hot_product, "new_product", uuid4)
    sellers = create_autospec(below_http.Sellers, instance=True)
    sellers.sell.return_value = below_http.Measured([0.1], 0, 1, 1)
    plan = hot_product.Plan(1.0, 1, [1, 16], [1, 2])
    rows = list(hot_product.sell_below(sellers, plan, 10.0))
    assert sorted({(row.processes, row.buyers) for row in rows}) == [(1, 1), (1, 16), (2, 16)]
    assert {call.args[3] for call in sellers.sell.call_args_list if call.args[2] == 2} == {8}
