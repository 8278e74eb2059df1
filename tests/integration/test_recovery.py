"""Recovery on the real database: whatever a crash left is finished, and who wakes up late finds it decided."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest
import shops

from store_manager.dao import listings
from store_manager.dao import orders as order_rows
from store_manager.errors import OrderGivenUp, OrderNotFound, OutcomeUnknown
from store_manager.services import clocks, orders, recovery, reservations, stocks
from store_manager.services.orders import Item

if TYPE_CHECKING:
    from collections.abc import Callable

    from store_manager.models.orders import Order

pytestmark = pytest.mark.usefixtures("database")

AT_ONCE = recovery.Limits(pending=timedelta(seconds=-1), unpaid=None)
EXPIRED = recovery.Limits(pending=timedelta(seconds=-1), unpaid=timedelta(seconds=-1))


class CrashError(Exception):
    """The process dies here."""


def crash(*_: object, **__: object) -> None:
    raise CrashError


def recover(limits: recovery.Limits = AT_ONCE) -> set[UUID]:
    return {one.order_id for one in recovery.recover(limits) if one.finished}


def place_and_die(
    monkeypatch: pytest.MonkeyPatch, where: object, name: str, act: Callable[..., object] = crash
) -> UUID:
    """Place an order of 3 of 5 units in a process that dies at this function; return the product."""
    product, user = shops.new_product(5), shops.new_user()
    with monkeypatch.context() as planted:
        planted.setattr(where, name, act)
        with pytest.raises(CrashError):
            orders.place(user.user_id, [Item(product.product_id, 3)], shops.CURRENCY)
    return UUID(str(product.product_id))


def balance(product_id: UUID) -> tuple[int, int]:
    stock = stocks.get(product_id)
    return stock.on_hand, stock.reserved


@pytest.mark.parametrize(
    ("where", "name"),
    [
        (order_rows, "insert"),
        (reservations, "reserve"),
        (listings, "add"),
        (order_rows, "change_status"),
    ],
)
def test_an_order_whose_placing_died_gives_everything_back(
    monkeypatch: pytest.MonkeyPatch, where: object, name: str
) -> None:
    if name == "add":  # the intent is written by the same function: die at the order's own listings
        add = listings.add

        def add_or_die(table: listings.ListingTable, *rest: object) -> None:
            if table is not listings.INTENTS:
                raise CrashError
            add(table, *rest)  # type: ignore[arg-type]

        product_id = place_and_die(monkeypatch, where, name, add_or_die)
    else:
        product_id = place_and_die(monkeypatch, where, name)
    assert recover()
    assert balance(product_id) == (5, 0)


@pytest.mark.parametrize(("end", "left"), [(orders.cancel, (5, 0)), (orders.fulfil, (2, 0))])
def test_an_end_that_was_decided_is_finished(
    monkeypatch: pytest.MonkeyPatch, end: Callable[[UUID], object], left: tuple[int, int]
) -> None:
    product, user = shops.new_product(5), shops.new_user()
    order_id = orders.place(user.user_id, [Item(product.product_id, 3)], shops.CURRENCY).head.order_id
    orders.pay(order_id, None, None)
    with monkeypatch.context() as planted:
        planted.setattr(orders, "_settle", crash)
        with pytest.raises(CrashError):
            end(order_id)
    assert balance(product.product_id) == (5, 3)
    assert order_id in recover()
    assert balance(product.product_id) == left
    assert orders.get(order_id).head.settled


def test_a_worker_that_wakes_up_late_cannot_confirm_what_was_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    product, user = shops.new_product(5), shops.new_user()
    change_status = order_rows.change_status
    seen: list[UUID] = []

    def sleep_first(order: Order, status: str, **values: object) -> Order | None:
        if status == "CONFIRMED":
            seen.append(order.head.order_id)
            assert order.head.order_id in recover()
        return change_status(order, status, **values)  # type: ignore[arg-type]

    monkeypatch.setattr(order_rows, "change_status", sleep_first)
    with pytest.raises(OrderGivenUp):
        orders.place(user.user_id, [Item(product.product_id, 3)], shops.CURRENCY)
    assert orders.get(seen[0]).head.status == "REJECTED"
    assert balance(product.product_id) == (5, 0)


def test_a_reservation_that_comes_after_its_order_was_given_up_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    product, user = shops.new_product(5), shops.new_user()
    reserve = reservations.reserve

    def sleep_first(order_id: UUID, demand: dict[UUID, int]) -> list[reservations.Short]:
        assert order_id in recover()
        return reserve(order_id, demand)

    monkeypatch.setattr(reservations, "reserve", sleep_first)
    with pytest.raises(OrderGivenUp):
        orders.place(user.user_id, [Item(product.product_id, 3)], shops.CURRENCY)
    assert balance(product.product_id) == (5, 0)


def test_an_order_that_was_never_written_can_never_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    product, user = shops.new_product(5), shops.new_user()
    insert = order_rows.insert
    seen: list[UUID] = []

    def sleep_first(order: Order) -> bool:
        if order.head.status == "PENDING":
            seen.append(order.head.order_id)
            assert order.head.order_id in recover()
        return insert(order)

    monkeypatch.setattr(order_rows, "insert", sleep_first)
    with pytest.raises(OrderGivenUp):
        orders.place(user.user_id, [Item(product.product_id, 3)], shops.CURRENCY)
    with pytest.raises(OrderNotFound):
        orders.get(seen[0])
    assert balance(product.product_id) == (5, 0)


def test_a_cancellation_still_on_its_way_is_put_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    product, user = shops.new_product(5), shops.new_user()
    order_id = orders.place(user.user_id, [Item(product.product_id, 3)], shops.CURRENCY).head.order_id
    late = orders.get(order_id)
    with monkeypatch.context() as planted:
        planted.setattr(order_rows, "change_status", crash)
        with pytest.raises(CrashError):
            orders.cancel(order_id)
    assert order_id in recover()
    assert not order_rows.change_status(late, "CANCELLED", at=clocks.now(), settled=False)
    assert orders.get(order_id).head.status == "CONFIRMED"


def test_an_order_at_work_is_left_alone_and_met_again(monkeypatch: pytest.MonkeyPatch) -> None:
    product_id = place_and_die(monkeypatch, order_rows, "change_status")
    recover(recovery.Limits(pending=timedelta(minutes=5), unpaid=None))
    assert balance(product_id) == (5, 3)
    recover()
    assert balance(product_id) == (5, 0)


def test_what_could_not_be_finished_is_met_again(monkeypatch: pytest.MonkeyPatch) -> None:
    product_id = place_and_die(monkeypatch, order_rows, "change_status")

    def lose_the_database(*_: object, **__: object) -> bool:
        raise OutcomeUnknown("planted")

    with monkeypatch.context() as planted:
        planted.setattr(order_rows, "change_status", lose_the_database)
        recover()
    assert balance(product_id) == (5, 3)
    recover()
    assert balance(product_id) == (5, 0)


def test_an_order_that_is_not_paid_in_time_expires_and_a_paid_one_does_not() -> None:
    product, user = shops.new_product(5), shops.new_user()
    unpaid, paid = (
        orders.place(user.user_id, [Item(product.product_id, 1)], shops.CURRENCY).head.order_id for _ in range(2)
    )
    orders.pay(paid, None, None)
    recover(EXPIRED)
    assert orders.get(unpaid).head.status == "CANCELLED"
    assert orders.get(paid).head.status == "PAID"
    assert balance(product.product_id) == (5, 1)


def test_an_order_that_is_paid_while_it_expires_stays_paid(monkeypatch: pytest.MonkeyPatch) -> None:
    product, user = shops.new_product(5), shops.new_user()
    order_id = orders.place(user.user_id, [Item(product.product_id, 1)], shops.CURRENCY).head.order_id
    cancel = orders.cancel

    def pay_first(expired_id: UUID, version: int | None = None) -> Order:
        if expired_id == order_id:
            orders.pay(order_id, None, None)
        return cancel(expired_id, version)

    monkeypatch.setattr(orders, "cancel", pay_first)
    assert order_id in recover(EXPIRED)
    assert orders.get(order_id).head.status == "PAID"
    assert balance(product.product_id) == (5, 1)


def test_an_order_that_was_still_being_placed_when_others_expired_expires_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    product, user = shops.new_product(5), shops.new_user()
    change_status = order_rows.change_status

    def expire_first(order: Order, status: str, **values: object) -> Order | None:
        if status == "CONFIRMED":
            recover(recovery.Limits(pending=timedelta(minutes=5), unpaid=timedelta(seconds=-1)))
        return change_status(order, status, **values)  # type: ignore[arg-type]

    with monkeypatch.context() as planted:
        planted.setattr(order_rows, "change_status", expire_first)
        order_id = orders.place(user.user_id, [Item(product.product_id, 1)], shops.CURRENCY).head.order_id
    recover(EXPIRED)
    assert orders.get(order_id).head.status == "CANCELLED"


@pytest.mark.parametrize("error", [OutcomeUnknown("planted"), ValueError("planted")])
def test_what_can_not_be_finished_keeps_no_other_order_waiting(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    left = [place_and_die(monkeypatch, order_rows, "change_status") for _ in range(listings.INTENTS.shards + 2)]
    change_status = order_rows.change_status
    stuck: dict[int, UUID] = {}

    def fail_at_the_first_of_each_shard(order: Order, status: str, **values: object) -> Order | None:
        order_id = order.head.order_id
        if stuck.setdefault(order_id.int % listings.INTENTS.shards, order_id) == order_id:
            raise error
        return change_status(order, status, **values)  # type: ignore[arg-type]

    with monkeypatch.context() as planted:
        planted.setattr(order_rows, "change_status", fail_at_the_first_of_each_shard)
        recover()
    assert [balance(product_id) for product_id in left].count((5, 3)) == len(stuck)
    recover()
    assert [balance(product_id) for product_id in left].count((5, 0)) == len(left)


def test_many_that_can_not_be_finished_keep_no_other_order_of_their_shard_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(listings, "INTENTS", replace(listings.INTENTS, shards=1))
    recover()
    left = [place_and_die(monkeypatch, order_rows, "change_status") for _ in range(2 * recovery.MOST_PUT_OFF + 2)]
    change_status = order_rows.change_status
    met: list[UUID] = []

    def fail_every_other(order: Order, status: str, **values: object) -> Order | None:
        met.append(order.head.order_id)
        if len(met) % 2:
            raise ValueError("planted")
        return change_status(order, status, **values)  # type: ignore[arg-type]

    with monkeypatch.context() as planted:
        planted.setattr(order_rows, "change_status", fail_every_other)
        recover()
    assert [balance(product_id) for product_id in left].count((5, 0)) == recovery.MOST_PUT_OFF + 1
    recover()
    assert [balance(product_id) for product_id in left] == [(5, 0)] * len(left)


def test_two_recoveries_at_once_do_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    products = [place_and_die(monkeypatch, order_rows, "change_status") for _ in range(3)]
    shops.at_once(4, lambda _: recover())
    assert [balance(product_id) for product_id in products] == [(5, 0)] * 3


def test_a_reservation_belongs_to_its_order_alone() -> None:
    assert reservations.operation_id_of(uuid4(), uuid4()) != reservations.operation_id_of(uuid4(), uuid4())
