"""Situations planted on three real nodes in which a store loses or creates stock, if its design lets it."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest
import shops
from conftest import Place, settings_for, store_keyspace

from store_manager.dao import stocks as stock_rows
from store_manager.database.deadlines import deadline
from store_manager.errors import StoreError
from store_manager.services import orders, reservations, stocks
from store_manager.services.orders import Item

if TYPE_CHECKING:
    from collections.abc import Iterator

    from store_manager.database.connections import Database
    from store_manager.lab.clusters import Cluster
    from store_manager.models.orders import Order

PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def database(three_nodes: Cluster) -> Iterator[Database]:
    """A keyspace with three replicas, and time-outs short enough that a frozen node is noticed."""
    settings = settings_for(Place(tuple(three_nodes.addresses)), replicas=3)
    with store_keyspace(replace(settings, cassandra_conditional_timeout_s=2)) as database:
        yield database


@pytest.fixture(autouse=True)
def _whole_cluster(three_nodes: Cluster, database: Database) -> Iterator[None]:
    yield
    for node in three_nodes.status():
        if node.process == "frozen":
            three_nodes.thaw(node.number)
        elif node.process == "stopped":
            three_nodes.start(node.number)
    wait_until_all_answer(database)


def wait_until_all_answer(database: Database) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not all(node.clock_skew_s is not None for node in database.health().nodes):
        assert time.monotonic() < end_s, "a node does not answer"
        time.sleep(0.2)


def first_replica_of(database: Database, product_id: UUID) -> str:
    """The node that every conditional write of this product goes to first."""
    keyspace = database.keyspace
    replicas = database.cluster.metadata.get_replicas(keyspace, product_id.bytes)
    return str(replicas[0].address)


def number_of(three_nodes: Cluster, address: str) -> int:
    return three_nodes.addresses.index(address) + 1


def sums(product_id: UUID) -> tuple[int, int]:
    movements = stock_rows.list_movements(product_id, before=2**40, limit=1000)
    return sum(one.delta for one in movements), sum(one.reserved_delta for one in movements)


def balance(product_id: UUID) -> tuple[int, int]:
    head = stock_rows.find(product_id, serial=True)
    assert head is not None
    return head.on_hand, head.reserved


def test_a_write_that_slept_in_a_frozen_coordinator_and_wakes_up_sells_nothing_twice(
    three_nodes: Cluster, database: Database
) -> None:
    for _ in range(3):
        product = shops.new_product(5)
        frozen = number_of(three_nodes, first_replica_of(database, product.product_id))
        order_ids = [uuid4() for _ in range(3)]
        three_nodes.freeze(frozen)
        told = []
        for order_id in order_ids:
            with deadline(20):
                told.append(reservations.reserve(order_id, {product.product_id: 1}))
        assert told == [[], [], []]
        with deadline(20):
            reservations.release(order_ids[0], [product.product_id])
        three_nodes.thaw(frozen)
        wait_until_all_answer(database)
        for (
            order_id
        ) in order_ids:  # whatever slept has been carried out or refused by now: asking again changes nothing
            with deadline(20):
                reservations.reserve(order_id, {product.product_id: 1})
        assert balance(product.product_id) == (5, 2) == sums(product.product_id)


def test_a_node_that_was_away_while_reservations_were_released_brings_none_back(
    three_nodes: Cluster, database: Database
) -> None:
    product, user = shops.new_product(10), shops.new_user()
    placed = [orders.place(user.user_id, [Item(product.product_id, 1)], shops.CURRENCY) for _ in range(5)]
    away = number_of(three_nodes, first_replica_of(database, product.product_id))
    three_nodes.kill(away)
    for order in placed:
        with deadline(20):
            orders.cancel(order.head.order_id)
    three_nodes.start(away)
    wait_until_all_answer(database)
    for order in placed:
        with deadline(20):
            assert orders.cancel(order.head.order_id).head.status == "CANCELLED"
            reservations.release(order.head.order_id, [product.product_id])
    assert balance(product.product_id) == (10, 0) == sums(product.product_id)


def test_what_was_answered_survives_the_death_of_all_nodes_at_once(three_nodes: Cluster, database: Database) -> None:
    product, user = shops.new_product(50), shops.new_user()

    def place(_: int) -> Order:
        return orders.place(user.user_id, [Item(product.product_id, 1)], shops.CURRENCY)

    placed = [order.head.order_id for order in shops.at_once(10, place) if not isinstance(order, StoreError)]
    for number in (1, 2, 3):
        three_nodes.kill(number)
    three_nodes.up()
    wait_until_all_answer(database)
    with deadline(60):
        assert {orders.get(order_id).head.status for order_id in placed} == {"CONFIRMED"}
    assert len(placed) == 10
    assert balance(product.product_id) == (50, 10) == sums(product.product_id)


def test_a_service_whose_clock_is_ahead_does_no_harm(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = database.cluster
    generator = cluster.timestamp_generator
    monkeypatch.setattr(cluster, "timestamp_generator", lambda: generator() + 2_000_000)
    product, user = shops.new_product(5), shops.new_user()
    kept = orders.place(user.user_id, [Item(product.product_id, 1)], shops.CURRENCY).head.order_id
    cancelled = orders.place(user.user_id, [Item(product.product_id, 1)], shops.CURRENCY).head.order_id
    monkeypatch.undo()
    orders.pay(kept, None, None)
    orders.cancel(cancelled)
    stocks.count(product.product_id, 9, None)
    assert orders.get(kept).head.status == "PAID"
    assert orders.get(cancelled).head.status == "CANCELLED"
    assert balance(product.product_id) == (9, 1) == sums(product.product_id)
