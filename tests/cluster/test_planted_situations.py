"""Situations planted on three real nodes in which a store loses or creates stock, if its design lets it."""

from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from datetime import timedelta
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
import shops
import workers
from conftest import Place, settings_for, store_keyspace

from benchmarks.clients import HttpServer, order_id_of
from benchmarks.faults import Service
from store_manager.dao import conditional, scans
from store_manager.dao import orders as order_rows
from store_manager.dao import stocks as stock_rows
from store_manager.database.connections import prepare_all
from store_manager.database.deadlines import deadline
from store_manager.database.sessions import guarded
from store_manager.errors import KeySpent, OutcomeUnknown, StoreError
from store_manager.services import audit, clocks, orders, recovery, reservations, stock_writers, stocks
from store_manager.services.findings import Finding, Patience
from store_manager.services.orders import Item
from store_manager.services.request_keys import RequestKey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future
    from pathlib import Path

    from benchmarks.clients import Reply
    from store_manager.database.connections import Database
    from store_manager.lab.clusters import Cluster
    from store_manager.models.orders import Order
    from store_manager.models.stocks import Stock
    from store_manager.settings import Settings

PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def settings(three_nodes: Cluster) -> Settings:
    """A keyspace with three replicas, and time-outs short enough that a frozen node is noticed."""
    own = settings_for(Place(tuple(three_nodes.addresses)), replicas=3)
    return replace(own, cassandra_conditional_timeout_s=2)


@pytest.fixture(scope="module")
def database(settings: Settings) -> Iterator[Database]:
    with store_keyspace(settings) as database:
        prepare_all([scans.rehearse])
        yield database


@pytest.fixture(autouse=True)
def _no_write_is_overtaken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a conditional write sleep in a frozen node: usually a second node is sent a copy before that matters."""
    monkeypatch.setattr(conditional, "guarded", nullcontext)


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


@pytest.fixture
def _nobody_is_suspected(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every statement go to its first replica, although others have been left unanswered there."""
    prober, hosts = database.session._prober, database.cluster.metadata.all_hosts()
    assert until(lambda: not any(host in prober._suspects for host in hosts))
    monkeypatch.setattr(prober, "suspect", lambda _: None)


def until(condition: Callable[[], Any], patience_s: float = PATIENCE_S) -> Any:
    """Ask again and again until it holds; return False when patience ends."""
    end_s = time.monotonic() + patience_s
    while not (found := condition()) and time.monotonic() < end_s:
        time.sleep(0.01)
    return found


def number_of(three_nodes: Cluster, address: str) -> int:
    return three_nodes.addresses.index(address) + 1


def movements_of(product_id: UUID) -> list[Any]:
    head = stock_rows.find(product_id, serial=True)
    assert head is not None
    return list(stock_rows.list_movements(head, before=2**40, limit=1000))


def sums(product_id: UUID) -> tuple[int, int]:
    movements = movements_of(product_id)
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
        for order_id in order_ids:
            reservations.release(order_id, [product.product_id])


class Sleeper:
    """An order whose reservation is sent to a frozen coordinator, and whose caller gives up."""

    def __init__(self, three_nodes: Cluster, database: Database, coordinator: int) -> None:
        def is_first(key: UUID) -> bool:
            return number_of(three_nodes, first_replica_of(database, key)) == coordinator

        made = (UUID(str(shops.new_product(5).product_id)) for _ in range(100))
        self.product_id = next(product_id for product_id in made if is_first(product_id))
        order_id = next(key for key in iter(uuid4, None) if not is_first(key))  # the order itself shall be written
        self.key = RequestKey(order_id, "digest", lease=timedelta(0))
        self._user_id = shops.new_user().user_id

    def place(self) -> Order:
        with deadline(20):
            return orders.place(self._user_id, [Item(self.product_id, 1)], shops.CURRENCY, self.key)

    def give_up(self) -> None:
        with deadline(2), pytest.raises(OutcomeUnknown):
            self.place()
        assert until(lambda: self.product_id not in stocks.WRITERS._queues)  # nobody in this process tries any more

    def is_reserved(self) -> bool:
        return balance(self.product_id) == (5, 1)


@pytest.mark.usefixtures("_nobody_is_suspected")
def test_a_write_that_wakes_up_after_its_caller_gave_up_is_found_and_one_that_recovery_decided_on_changes_nothing(
    three_nodes: Cluster, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2, 3, 1, 2):  # what sleeps in a frozen node is mostly carried out when it thaws, not always
        found, fenced = (Sleeper(three_nodes, database, number) for _ in range(2))
        three_nodes.freeze(number)
        shops.at_once(2, lambda which, both=(found, fenced): both[which].give_up())  # type: ignore[misc]
        with monkeypatch.context() as usual, deadline(20):  # what recovery sends overtakes the node that is frozen
            usual.setattr(conditional, "guarded", guarded)
            assert orders.recover(fenced.key.made_id, pending_before=clocks.now())
        assert balance(found.product_id) == (5, 0)  # so it looks; it settles nothing
        three_nodes.thaw(number)
        carried_out = until(found.is_reserved, patience_s=3.0)
        assert found.place().head.status == "CONFIRMED"
        with pytest.raises(KeySpent):
            fenced.place()
        assert balance(found.product_id) == (5, 1) == sums(found.product_id)
        assert balance(fenced.product_id) == (5, 0) == sums(fenced.product_id)
        if carried_out:
            return
    pytest.fail("nothing that slept in a frozen node was carried out when it thawed")


def move_by_nothing(product_id: UUID) -> Stock:
    """Make a new version, with which old movements may leave."""
    with deadline(20):
        stocks.adjust(product_id, {"delta": 0, "reason": "FOUND"})
    return stocks.get(product_id)


def test_a_node_that_was_away_while_reservations_were_released_and_deleted_brings_none_back(
    three_nodes: Cluster, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    product, user = shops.new_product(10), shops.new_user()
    placed = [orders.place(user.user_id, [Item(product.product_id, 1)], shops.CURRENCY) for _ in range(5)]
    away = number_of(three_nodes, first_replica_of(database, product.product_id))
    three_nodes.kill(away)
    for order in placed:
        with deadline(20):
            orders.cancel(order.head.order_id)
    monkeypatch.setattr(stock_writers, "DRAIN_AFTER", timedelta(0))
    for name in ("DRAIN_FROM", "DRAIN_EVERY", "DRAIN_PAUSE_S"):
        monkeypatch.setattr(stock_writers, name, 1)
    monkeypatch.setattr(stock_writers, "DRAIN_TOGETHER", 11)  # the count, five reservations, five releases
    assert until(lambda: move_by_nothing(product.product_id).drained == 11)
    three_nodes.start(away)
    wait_until_all_answer(database)
    three_nodes.freeze(away % 3 + 1)  # from now on the node that was away is in every quorum
    ids = [reservations.operation_id_of(order.head.order_id, product.product_id) for order in placed]
    with deadline(20):
        assert stock_rows.find_operations(product.product_id, ids) == {}
    for order in placed:
        with deadline(20):
            assert orders.cancel(order.head.order_id).head.status == "CANCELLED"
            reservations.release(order.head.order_id, [product.product_id])
    with deadline(20):
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


def test_a_service_whose_clock_is_two_seconds_ahead_does_no_harm(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    stamp, now = database.cluster.timestamp_generator, clocks.now
    with monkeypatch.context() as ahead:
        ahead.setattr(database.cluster, "timestamp_generator", lambda: stamp() + 2_000_000)
        ahead.setattr(clocks, "now", lambda: now() + timedelta(seconds=2))
        product, user = shops.new_product(5), shops.new_user()
        kept, cancelled = (
            orders.place(user.user_id, [Item(product.product_id, 1)], shops.CURRENCY).head.order_id for _ in range(2)
        )
    orders.pay(kept, None, None)
    orders.cancel(cancelled)
    stocks.count(product.product_id, 9, None)
    assert [change.status for change in orders.get(kept).history] == ["PENDING", "CONFIRMED", "PAID"]
    assert [change.status for change in orders.get(cancelled).history] == ["PENDING", "CONFIRMED", "CANCELLED"]
    assert orders.fulfil(kept).head.status == "FULFILLED"
    listed = orders.find_page(user_id=user.user_id, limit=9, cursor=None).items
    assert {order.head.order_id for order in listed} == {kept, cancelled}
    assert balance(product.product_id) == (8, 0) == sums(product.product_id)


def test_two_processes_that_combine_for_one_product_sell_all_of_it_and_no_more(
    settings: Settings, database: Database
) -> None:
    assert database
    product_id, start = shops.new_product(200).product_id, workers.servers.Barrier(2)
    told = []
    for _ in range(2):
        receiver, sender = workers.servers.Pipe(duplex=False)
        workers.servers.Process(target=workers.buy_at_once, args=(settings, product_id, 150, start, sender)).start()
        told.append(receiver)
    answers = [receiver.recv() for receiver in told if receiver.poll(PATIENCE_S)]
    sold = [order_ids for order_ids, _ in answers]
    assert sum(len(order_ids) for order_ids in sold) == 200
    assert sum(lost for _, lost in answers) > 0  # they did compete
    assert balance(product_id) == (200, 200) == sums(product_id)
    movements = movements_of(product_id)[:-1]  # the oldest is the count
    assert [one.sequence for one in movements] == list(range(201, 1, -1))
    sellers = {reservations.operation_id_of(key, product_id): number for number in (0, 1) for key in sold[number]}
    batches = [list(part) for _, part in groupby(movements, key=lambda one: one.batch_id)]
    combined = {sellers[one.operation_id] for batch in batches for one in batch if len(batch) > 1}
    assert combined == {0, 1}  # both carried several reservations in one batch
    assert all(len({sellers[one.operation_id] for one in batch}) == 1 for batch in batches)
    shops.at_once(40, lambda number: release_all((sold[0] + sold[1])[number::40], product_id))
    assert balance(product_id) == (200, 0)


def release_all(order_ids: list[UUID], product_id: UUID) -> None:
    for order_id in order_ids:
        reservations.release(order_id, [product_id])


@pytest.fixture
def server(settings: Settings, database: Database, tmp_path: Path) -> Iterator[Service]:
    """A server that leaves recovery to others."""
    assert database
    host = f"{settings.cassandra_hosts[0].rpartition('.')[0]}.100"
    with socket.create_server((host, 0)) as probe:
        port = probe.getsockname()[1]
    own = replace(
        settings,
        http_host=host,
        http_port=port,
        request_timeout_s=3,
        order_pending_limit_s=3.5,
        recovery_interval_s=0,
    )
    service = Service(1, own, tmp_path)
    try:
        service.start()
        yield service
    finally:
        service.thaw()
        service.kill()


def test_a_server_that_was_frozen_while_it_placed_an_order_finds_it_given_up_when_it_thaws(server: Service) -> None:
    made = shops.at_once(15, lambda _: [shops.new_product(5).product_id for _ in range(2)])
    product_ids = [product_id for some in made if isinstance(some, list) for product_id in some]
    body = {
        "user_id": str(shops.new_user().user_id),
        "items": [{"product_id": str(product_id), "quantity": 1} for product_id in product_ids],
    }
    host, port = server.settings.http_host, server.settings.http_port
    http = HttpServer(host, port, timeout_s=PATIENCE_S, connections=2)
    # Recovery goes by a shorter limit than is set, then by that one: the server thaws while its request still has time,
    # then after that.
    for limit_s in (-1.0, server.settings.order_pending_limit_s):
        key, answer = place_and_freeze(server, http, body)
        assert until(partial(recover_and_see_rejected, limit_s, UUID(order_id_of(key))))
        server.thaw()
        assert answer.result(PATIENCE_S).status == 503
        again = http.send("POST", "/orders", body, {"Idempotency-Key": key})
        assert (again.status, again.body["code"]) == (409, "IDEMPOTENCY_KEY_SPENT")
        assert {balance(product_id) for product_id in product_ids} == {(5, 0)}


def place_and_freeze(server: Service, http: HttpServer, body: dict[str, Any]) -> tuple[str, Future[Reply]]:
    """Send an order, and freeze the server when it has been written and not decided; return its key and its answer."""
    pool = ThreadPoolExecutor(1)
    for _ in range(10):
        key = shops.new_key()
        order_id = UUID(order_id_of(key))
        answer = pool.submit(http.send, "POST", "/orders", body, {"Idempotency-Key": key})
        until(partial(status_of, order_id))
        server.freeze()
        if status_of(order_id) == "PENDING":
            pool.shutdown(wait=False)
            return key, answer
        server.thaw()
        orders.cancel(order_id)
    pytest.fail("the server is too fast to be frozen in the middle")


def recover_and_see_rejected(limit_s: float, order_id: UUID) -> bool:
    list(recovery.recover(recovery.limits_of(limit_s, 0)))
    return status_of(order_id) == "REJECTED"


def status_of(order_id: UUID) -> str | None:
    order = order_rows.find(order_id, serial=True)
    return None if order is None else str(order.head.status)


@pytest.mark.usefixtures("database")
def test_after_all_of_this_an_audit_finds_nothing() -> None:
    list(recovery.recover(recovery.limits_of(-1, 0)))
    walks = audit.plan(Patience(timedelta(seconds=-1)))  # so that nothing counts as in flight
    assert [one for one in audit.run(walks) if isinstance(one, Finding)] == []
