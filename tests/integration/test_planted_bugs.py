"""The history checker on the real database: it finds nothing in the store as it is, and each bug that is planted."""

from __future__ import annotations

import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

from benchmarks import histories
from benchmarks.checks import Rule, check
from benchmarks.clients import Client, NoAnswerError, Reply, reply_of
from benchmarks.histories import History, Journal, Kind, Outcome
from benchmarks.shoppers import Crew, Traffic, open_shop
from benchmarks.surveys import survey
from store_manager.app import create_app
from store_manager.dao import orders as order_rows
from store_manager.dao import stocks as stock_rows
from store_manager.models.orders import Order
from store_manager.models.stocks import RELEASED, Stock
from store_manager.services import reservations, rules, stocks
from store_manager.services.rules import Balance, Operation, Reservation, Verb, Verdict
from store_manager.services.stock_writers import StockWriters

if TYPE_CHECKING:
    from concurrent.futures import Future
    from pathlib import Path

    from cassandra.cqlengine.query import BatchQuery
    from flask import Flask

    from store_manager.database.connections import Database
    from store_manager.services.stock_writers import Done
    from store_manager.settings import Settings

CREW = Crew(buyers=6, cancellers=3, restockers=2, readers=2)
ORDERS = 40
LOST_EVERY = 6
LONGEST_S = 60.0
ID = re.compile(r"[0-9a-f-]{36}")
LATE, LATEST_S = 0.2, 0.5

Plant = Callable[[pytest.MonkeyPatch], None]


class InProcess:
    """The application without a network between, save that every so many answers of each operation get lost."""

    def __init__(self, app: Flask, lost_every: int | None = None) -> None:
        self._app = app
        self._lost_every = lost_every
        self._answered = Counter[str]()

    def send(self, method: str, path: str, body: Any, headers: dict[str, str]) -> Reply:
        response = self._app.test_client().open(path, method=method, json=body, headers=headers)
        operation = f"{method} {ID.sub('', path)}"
        self._answered[operation] += 1
        if self._lost_every and self._answered[operation] % self._lost_every == 0:
            raise NoAnswerError("LOST", was_sent=True)
        return reply_of(response.status_code, response.data, response.headers)


class Competitors:
    """The writers of several processes, as far as a stock can tell: an operation goes to any of them."""

    def __init__(self) -> None:
        self._writers = [StockWriters() for _ in range(3)]

    def submit(self, product_id: UUID, operation: Operation) -> Future[Done]:
        return random.choice(self._writers).submit(product_id, operation)


@pytest.fixture(scope="module")
def app(settings: Settings, database: Database) -> Flask:
    return create_app(settings, database)


@pytest.fixture(autouse=True)
def several_writers(monkeypatch: pytest.MonkeyPatch) -> None:
    competitors = Competitors()
    monkeypatch.setattr(reservations, "WRITERS", competitors)
    monkeypatch.setattr(stocks, "WRITERS", competitors)


@pytest.fixture
def shop_with(app: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Plant], History]:
    """Let shoppers shop with a bug until enough orders are placed, and return their history."""

    def shop_with(plant: Plant) -> History:
        path, seed, calm = tmp_path / "history.jsonl", uuid4().hex, InProcess(app)
        journal = Journal(path)
        client = Client([calm], journal.write, random.Random(seed), patience_s=0.0)
        shop = open_shop(calm, client, random.Random(seed), products=4, users=2)
        traffic = Traffic(CREW, shop, [InProcess(app, LOST_EVERY)], journal.write, seed, patience_s=2.0, orders=ORDERS)
        watchdog = threading.Timer(LONGEST_S, traffic.stop)
        watchdog.start()
        with monkeypatch.context() as planted:
            plant(planted)
            traffic.run()
        watchdog.cancel()
        journal.close(survey([calm], shop.product_ids, shop.user_ids, journal.orders))
        return histories.read(path)

    return shop_with


def nothing(_: pytest.MonkeyPatch) -> None:
    pass


def test_the_store_as_it_is_keeps_every_rule(shop_with: Callable[[Plant], History]) -> None:
    history = shop_with(nothing)
    assert check(history) == []
    outcomes = {(one.kind, one.outcome) for one in history.operations}
    assert {(Kind.PLACE, Outcome.OK), (Kind.FULFIL, Outcome.OK), (Kind.CANCEL, Outcome.OK)} <= outcomes
    assert {one.kind for one in history.operations if one.was_unknown and one.outcome is Outcome.OK} >= {
        Kind.PLACE,
        Kind.ADJUST,
    }


def write_without_condition(planted: pytest.MonkeyPatch) -> None:
    write_on(planted, lambda _: {})


def write_on_condition_of_a_value(planted: pytest.MonkeyPatch) -> None:
    write_on(planted, lambda head: {"on_hand": head.on_hand, "reserved": head.reserved})


def write_on(planted: pytest.MonkeyPatch, condition: Callable[[Stock], dict[str, int]]) -> None:
    """Write a stock's head on this condition; some writes come late, but as soon as it holds again."""
    commit, write_head = stock_rows.commit, stock_rows._write_head

    def write(batch: BatchQuery, before: Stock | None, after: Stock) -> None:
        if before is None:
            write_head(batch, before, after)
            return
        head = stock_rows._head(after.product_id)
        guarded = head.iff(**condition(before)) if condition(before) else head
        guarded.batch(batch).update(
            on_hand=after.on_hand, reserved=after.reserved, version=after.version, updated_at=after.updated_at
        )

    def commit_late(before: Stock | None, *rest: Any) -> bool:
        if before is not None and random.random() < LATE:
            wait_for_another_version(before, condition)
        return commit(before, *rest)

    planted.setattr(stock_rows, "_write_head", write)
    planted.setattr(stock_rows, "commit", commit_late)


def wait_for_another_version(head: Stock, condition: Callable[[Stock], dict[str, int]]) -> None:
    end_s = time.monotonic() + LATEST_S
    while time.monotonic() < end_s:
        now = stock_rows.find(head.product_id)
        if now is not None and now.version > head.version and condition(now) == condition(head):
            return


def read_from_one_stale_replica(planted: pytest.MonkeyPatch) -> None:
    """Read as at consistency ONE from a replica that has missed the last writes: one node has no other replica."""
    find, replica = stock_rows.find, dict[UUID, Stock]()

    def find_stale(product_id: UUID, *, serial: bool = False) -> Stock | None:
        if not serial and product_id in replica and random.random() < 0.5:
            return replica[product_id]
        head = find(product_id, serial=serial)
        if head is not None:
            replica.setdefault(product_id, head)
        return head

    planted.setattr(stock_rows, "find", find_stale)


def drop_the_ids_of_reservations(planted: pytest.MonkeyPatch) -> None:
    planted.setattr(reservations, "operation_id_of", lambda *_: uuid4())


def drop_the_ids_of_adjustments(planted: pytest.MonkeyPatch) -> None:
    planted.setattr(Operation, "is_remembered", property(lambda one: one.verb is not Verb.ADJUST))


def release_twice(planted: pytest.MonkeyPatch) -> None:
    release = rules._release

    def release_again(balance: Balance, operation: Operation, reservation: Reservation | None) -> Verdict:
        if reservation is None or reservation.state != RELEASED:
            return release(balance, operation, reservation)
        held = reservation.held
        return rules._change(balance, operation, reserved_delta=-held, state=RELEASED, reservation=reservation)

    planted.setattr(rules, "_release", release_again)


def lose_a_line(planted: pytest.MonkeyPatch) -> None:
    insert = order_rows.insert
    planted.setattr(order_rows, "insert", lambda order: insert(Order(order.lines[:1])))


def reserve_only_the_first_line(planted: pytest.MonkeyPatch) -> None:
    sum_by_product = rules.sum_by_product
    planted.setattr(rules, "sum_by_product", lambda items: sum_by_product(list(items)[:1]))


@pytest.mark.parametrize(
    ("plant", "rule"),
    [
        pytest.param(write_without_condition, Rule.VERSIONS, id="a read-modify-write without condition"),
        pytest.param(write_on_condition_of_a_value, Rule.VERSIONS, id="a condition on a value"),
        pytest.param(read_from_one_stale_replica, Rule.FRESH, id="consistency ONE"),
        pytest.param(drop_the_ids_of_reservations, Rule.ASKED, id="a dropped id of reservations"),
        pytest.param(drop_the_ids_of_adjustments, Rule.ONCE, id="a dropped id of adjustments"),
        pytest.param(release_twice, Rule.FOLLOWS, id="a double release"),
        pytest.param(lose_a_line, Rule.LINES, id="a lost line"),
        pytest.param(reserve_only_the_first_line, Rule.FOLLOWS, id="a line that is not reserved"),
    ],
)
def test_a_planted_bug_is_found(plant: Plant, rule: Rule, shop_with: Callable[[Plant], History]) -> None:
    assert rule in {breach.rule for breach in check(shop_with(plant))}
