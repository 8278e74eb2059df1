"""The audit on the real database: a sound store audits clean while it sells, and each kind of breach is found."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from datetime import timedelta
from decimal import Decimal
from functools import partial
from itertools import cycle
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
import shops
from keyspaces import own_keyspace, used

from store_manager.dao import claims as claim_rows
from store_manager.dao import listings, scans
from store_manager.dao import orders as order_rows
from store_manager.errors import (
    CountBelowReserved,
    EmailTaken,
    NotFound,
    OutcomeUnknown,
    ReferenceInvalid,
    SkuTaken,
    StockShort,
)
from store_manager.models.stocks import LEDGER_SPAN
from store_manager.services import (
    audit,
    claims,
    clocks,
    order_audits,
    orders,
    products,
    recovery,
    reservations,
    stock_writers,
    stocks,
    users,
)
from store_manager.services.findings import Code, Finding, Patience, Severity
from store_manager.services.orders import Item
from store_manager.services.request_keys import RequestKey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from store_manager.database.connections import Database
    from store_manager.models.orders import Order
    from store_manager.models.products import Product
    from store_manager.settings import Settings

AT_ONCE = timedelta(seconds=-1)
"""The limit at which nothing counts as in flight."""
LONG = timedelta(hours=1)
"""The limit at which all that a test did counts as in flight."""
AUDIT_S = 60.0


class CrashError(Exception):
    """The process dies here."""


def crash(*_: object, **__: object) -> None:
    raise CrashError


class Plants:
    """Raw CQL in the keyspace of the test: what the store itself would never write."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self.settings = settings
        self._raw = database.raw

    def run(self, cql: str, *values: object) -> list[dict[str, Any]]:
        return list(self._raw.execute(cql.replace("@", f"{self.settings.cassandra_keyspace}."), values or None))


@pytest.fixture(scope="module")
def planted_keyspace(database: Database, settings: Settings) -> Iterator[Plants]:
    with own_keyspace(database, settings) as own:
        yield Plants(database, own)


@pytest.fixture(scope="module")
def sound_keyspace(database: Database, settings: Settings) -> Iterator[Plants]:
    with own_keyspace(database, settings) as own:
        yield Plants(database, own)


@pytest.fixture
def plants(planted_keyspace: Plants) -> Iterator[Plants]:
    """A keyspace in which the tests of this file leave breaches."""
    with used(planted_keyspace.settings):
        yield planted_keyspace


@pytest.fixture
def sound(sound_keyspace: Plants) -> Iterator[Plants]:
    """A keyspace in which no test leaves a breach."""
    with used(sound_keyspace.settings):
        yield sound_keyspace


def find(*, limit: timedelta = AT_ONCE, repair: bool = False) -> list[Finding]:
    events = audit.run(audit.plan(Patience(limit)), repair=repair)
    return [event for event in events if isinstance(event, Finding)]


def codes(*about: object, limit: timedelta = AT_ONCE, repair: bool = False) -> set[Code]:
    """Audit the whole store; return what is found of these keys."""
    return {one.code for one in find_about(*about, limit=limit, repair=repair)}


def find_about(*about: object, limit: timedelta = AT_ONCE, repair: bool = False) -> list[Finding]:
    found = find(limit=limit, repair=repair)
    return [one for one in found if any(str(key) in f"{one.where} {one.what}" for key in about)]


def place(*items: tuple[UUID, int]) -> Order:
    wanted = [Item(product_id, quantity) for product_id, quantity in items]
    return orders.place(shops.new_user().user_id, wanted, shops.CURRENCY)


def place_one(quantity: int = 2, of: int = 5) -> tuple[UUID, UUID]:
    """Order some units of a new product; return the order and the product."""
    product = shops.new_product(of)
    return place((product.product_id, quantity)).head.order_id, product.product_id


def balance(product_id: UUID) -> tuple[int, int]:
    stock = stocks.get(product_id)
    return stock.on_hand, stock.reserved


def is_mended(*about: object, code: Code, also: Code | None = None) -> None:
    """The breach is found; reporting changes nothing; one repair mends it, and then there is none."""
    found = find_about(*about)
    assert {code, also or code} <= {one.code for one in found}
    assert all(one.repairable and not one.repaired and one.severity is Severity.WRONG for one in found)
    assert all(one.repaired for one in find_about(*about, repair=True))
    assert find_about(*about) == []


def is_beyond_repair(*about: object, code: Code) -> None:
    found = [one for one in find_about(*about, repair=True) if one.code is code]
    assert found
    assert not any(one.repairable or one.repaired for one in found)
    assert code in codes(*about)


def use_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do whatever the store offers, crashes that a recovery finishes included."""
    monkeypatch.setattr(stock_writers, "DRAIN_AFTER", timedelta(0))
    monkeypatch.setattr(stock_writers, "DRAIN_FROM", 6)
    monkeypatch.setattr(stock_writers, "DRAIN_TOGETHER", 3)
    monkeypatch.setattr(stock_writers, "DRAIN_PAUSE_S", 0.0)
    mouse, keys = shops.new_product(9, category="peripherals"), shops.new_product(9)
    for end in cycle_of_an_order(8):
        end(place((mouse.product_id, 1), (keys.product_id, 1), (mouse.product_id, 1)).head.order_id)
        stocks.adjust(mouse.product_id, {"delta": 2, "reason": "RECEIVED"})
        stocks.adjust(keys.product_id, {"delta": 1, "reason": "RECEIVED"})
    with pytest.raises(StockShort):
        place((mouse.product_id, 1), (keys.product_id, 1_000))
    key = RequestKey(uuid4(), "digest", timedelta(seconds=30))
    stocks.count(keys.product_id, 50, None, key)
    die_in(monkeypatch, reservations, "reserve", partial(place, (mouse.product_id, 1)))
    die_in(monkeypatch, order_rows, "change_status", partial(place, (mouse.product_id, 1)))
    list(recovery.recover(recovery.Limits(pending=AT_ONCE, unpaid=None)))
    products.change(mouse.product_id, {"category": "mice", "price": Decimal(7)}, None)
    products.retire(keys.product_id, None)
    with pytest.raises(SkuTaken):
        shops.new_product(sku=mouse.sku)
    jane, john = shops.new_user(), shops.new_user()
    users.change(jane.user_id, {"email": f"{shops.new_key()}@example.ca"}, None)
    with pytest.raises(EmailTaken):
        users.change(jane.user_id, {"email": john.email.upper()}, None)
    users.delete(john.user_id, None)


def cycle_of_an_order(times: int) -> Iterator[Callable[[UUID], object]]:
    def fulfil(order_id: UUID) -> None:
        orders.pay(order_id, None, None)
        orders.fulfil(order_id)

    ends: list[Callable[[UUID], object]] = [fulfil, orders.cancel, lambda order_id: orders.pay(order_id, "CARD", None)]
    for _, end in zip(range(times), cycle(ends), strict=False):
        yield end


def die_in(monkeypatch: pytest.MonkeyPatch, where: object, name: str, act: Callable[[], object]) -> None:
    with monkeypatch.context() as planted:
        planted.setattr(where, name, crash)
        with pytest.raises(CrashError):
            act()


def test_a_store_in_which_everything_was_done_audits_clean_however_small_its_pages(
    sound: Plants, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_everything(monkeypatch)
    assert find() == []
    for size in ("ROWS_A_PAGE", "STOCKS_A_PAGE", "OPERATIONS_A_PAGE", "MOVEMENTS_A_PAGE", "READ_TOGETHER"):
        monkeypatch.setattr(scans, size, 2)
    monkeypatch.setattr(order_audits, "MOST_UNPROVEN", 2)
    events = list(audit.run(audit.plan(Patience(AT_ONCE))))
    assert [event for event in events if isinstance(event, Finding)] == []
    reached = {event.walk: event for event in events if isinstance(event, audit.Progress)}
    keys = {"products": "product_id", "users": "user_id", "orders": "order_id", "stocks": "product_id"}
    there = {walk: len(sound.run(f"SELECT DISTINCT {key} FROM @{walk}")) for walk, key in keys.items()}
    assert {walk: reached[walk].looked_at for walk in keys} == there
    assert all(number >= 2 for number in there.values())
    assert all(end.reached == 1.0 for end in reached.values())


@pytest.mark.usefixtures("sound")
def test_while_many_buy_nothing_is_wrong_and_a_repair_does_no_harm() -> None:
    hot, spare = shops.new_product(1_000, category="hot"), shops.new_product(1_000)
    user, stop = shops.new_user(), threading.Event()
    names = cycle(("hot", "cold", None))

    def buy(number: int) -> int:
        done = 0
        for end in cycle_of_an_order(10_000):
            if stop.is_set():
                break
            items = [Item(hot.product_id, 1 + number % 2), Item(spare.product_id, 1)]
            end(orders.place(user.user_id, items, shops.CURRENCY).head.order_id)
            done += 1
        return done

    def administer(_: int) -> int:
        done = 0
        while not stop.is_set():
            someone = shops.new_user()
            users.change(someone.user_id, {"email": f"{shops.new_key()}@example.ca"}, None)
            products.change(hot.product_id, {"category": next(names)}, None)
            products.retire(shops.new_product(3, category="short").product_id, None)
            users.delete(someone.user_id, None)
            stocks.adjust(spare.product_id, {"delta": 20, "reason": "RECEIVED"})
            stocks.adjust(hot.product_id, {"delta": 20, "reason": "RECEIVED"})
            done += 1
        return done

    def watch(_: int) -> int:
        wrong, audits, end_s = [], 0, time.monotonic() + AUDIT_S
        try:
            while audits < 6 and time.monotonic() < end_s:
                wrong += [one for one in find(limit=LONG, repair=bool(audits % 2)) if one.severity is Severity.WRONG]
                audits += 1
        finally:
            stop.set()
        assert wrong == []
        return audits

    acts = [buy] * 6 + [administer, watch]
    done = shops.at_once(len(acts), lambda number: acts[number](number))
    assert all(isinstance(count, int) and count > 1 for count in done), done
    assert find() == []


@pytest.mark.usefixtures("sound")
@pytest.mark.parametrize(("where", "name"), [(scans, "find_reservations"), (scans, "find_orders")])
def test_an_order_that_is_cancelled_between_two_readings_is_right(
    monkeypatch: pytest.MonkeyPatch, where: object, name: str
) -> None:
    order_id, product_id = place_one()
    read = getattr(where, name)
    cancelled: list[Order] = []

    def cancel_first(*args: Any) -> Any:
        keys = list(args[-1])
        if {order_id, product_id} & {*args[:-1], *keys} and not cancelled:
            cancelled.append(orders.cancel(order_id))
        return read(*args[:-1], keys)

    monkeypatch.setattr(where, name, cancel_first)
    assert codes(order_id, product_id) == set()
    assert cancelled


@pytest.mark.usefixtures("sound")
def test_orders_of_a_hundred_lines_whose_products_are_retired_meanwhile_leave_nothing_wrong(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = shops.at_once(25, lambda _: shops.new_product(8).product_id)
    ids = [product_id for product_id in made if isinstance(product_id, UUID)]
    hundred = [(ids[number % 25], 1) for number in range(100)]
    cancelled, fulfilled = place(*hundred).head.order_id, place(*hundred).head.order_id
    with pytest.raises(StockShort) as short:  # nothing is left: each line says so
        place(*hundred)
    assert [(line["line"], line["requested"]) for line in short.value.details["lines"]] == [(n, 4) for n in range(100)]
    orders.cancel(cancelled)
    reserve = reservations.reserve

    def retire_first(*args: Any) -> Any:
        for product_id in ids[:3]:
            products.retire(product_id, None)
        return reserve(*args)

    with monkeypatch.context() as planted:
        planted.setattr(reservations, "reserve", retire_first)
        kept = place(*hundred).head.order_id
    with pytest.raises(ReferenceInvalid) as refused:
        place(*hundred)
    assert [field.param for field in refused.value.fields] == [
        f"items[{n}].product_id" for n in range(100) if n % 25 < 3
    ]
    orders.pay(fulfilled, None, None)
    assert orders.fulfil(fulfilled).head.status == "FULFILLED"
    assert {balance(product_id) for product_id in ids} == {(4, 4)}
    with pytest.raises(CountBelowReserved) as held:
        stocks.count(ids[3], 3, None)
    assert held.value.details["reserved"] == 4
    orders.cancel(kept)
    assert {balance(product_id) for product_id in ids} == {(4, 0)}
    assert find() == []


@pytest.mark.usefixtures("sound")
def test_an_order_of_a_quantity_that_is_none_is_refused_before_anything_is_written() -> None:
    product_id = shops.new_product(5).product_id
    for quantity in (0, -1, 10**12):
        with pytest.raises(ValueError, match=str(quantity)):
            place((product_id, 1), (product_id, quantity))
    assert balance(product_id) == (5, 0)
    assert find() == []


HEAD_ROW = "product_id = %s AND kind = 0 AND sequence = 0 AND operation_id = 00000000-0000-0000-0000-000000000000"
OPERATION_ROW = "product_id = %s AND kind = 1 AND sequence = 0 AND operation_id = %s"


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("on_hand = 6", {Code.BALANCE_WRONG}),
        ("reserved = 3", {Code.BALANCE_WRONG, Code.RESERVED_WRONG}),
        ("on_hand = 1", {Code.BALANCE_WRONG, Code.STOCK_OUT_OF_BOUNDS}),
        ("version = 4", {Code.MOVEMENT_MISSING}),
    ],
)
def test_a_balance_that_does_not_add_up_is_found_and_left_alone(plants: Plants, change: str, found: set[Code]) -> None:
    _, product_id = place_one()
    plants.run(f"UPDATE @stocks SET {change} WHERE {HEAD_ROW}", product_id)
    assert codes(f"stocks {product_id}") == found
    for code in found:
        is_beyond_repair(f"stocks {product_id}", code=code)


def test_a_stock_without_its_head_is_found(plants: Plants) -> None:
    _, product_id = place_one()
    plants.run(f"DELETE FROM @stocks WHERE {HEAD_ROW}", product_id)
    is_beyond_repair(product_id, code=Code.STOCK_HEADLESS)


def test_a_version_without_movement_and_one_with_two_are_found(plants: Plants) -> None:
    without, double = place_one()[1], place_one()[1]
    plants.run("DELETE FROM @stocks WHERE product_id = %s AND kind = 2 AND sequence = 1", without)
    plants.run(
        "INSERT INTO @stocks (product_id, kind, sequence, operation_id) VALUES (%s, 2, 2, %s)",
        double,
        uuid4(),
    )
    is_beyond_repair(without, code=Code.MOVEMENT_MISSING)
    is_beyond_repair(double, code=Code.MOVEMENT_DOUBLE)


def drain(monkeypatch: pytest.MonkeyPatch, product_id: UUID) -> None:
    """Let the movements of a product leave for the ledger."""
    with monkeypatch.context() as quick:
        quick.setattr(stock_writers, "DRAIN_AFTER", timedelta(0))
        quick.setattr(stock_writers, "DRAIN_FROM", 4)
        quick.setattr(stock_writers, "DRAIN_TOGETHER", 4)
        quick.setattr(stock_writers, "DRAIN_PAUSE_S", 0.0)
        end_s = time.monotonic() + AUDIT_S
        while not stocks.get(product_id).drained and time.monotonic() < end_s:
            stocks.adjust(product_id, {"delta": 1, "reason": "RECEIVED"})


def test_a_movement_lost_from_the_ledger_and_one_that_came_back_are_found(
    plants: Plants, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost, returned = place_one()[1], place_one()[1]
    for product_id in (lost, returned):
        drain(monkeypatch, product_id)
    assert codes(lost, returned) == set()
    plants.run("DELETE FROM @stock_ledger WHERE product_id = %s AND span = 0 AND sequence = 2", lost)
    [operation] = [moved.operation_id for moved in scans.walk_ledger(returned, until=1)]
    plants.run(
        "INSERT INTO @stocks (product_id, kind, sequence, operation_id, delta) VALUES (%s, 2, 1, %s, 5)",
        returned,
        operation,
    )
    is_beyond_repair(lost, code=Code.MOVEMENT_MISSING)
    is_beyond_repair(returned, code=Code.MOVEMENT_RETURNED)


@pytest.mark.usefixtures("plants")
def test_what_is_held_for_no_order_is_released() -> None:
    product = shops.new_product(5)
    reservations.reserve(uuid4(), {product.product_id: 2})
    is_mended(product.product_id, code=Code.RESERVATION_DEAD)
    assert balance(product.product_id) == (5, 0)


def test_what_is_held_for_an_order_that_was_cancelled_is_released(plants: Plants) -> None:
    order_id, product_id = place_one()
    plants.run("UPDATE @orders SET status = 'CANCELLED', settled = true WHERE order_id = %s", order_id)
    is_mended(order_id, product_id, code=Code.RESERVATION_DEAD)
    assert balance(product_id) == (5, 0)


@pytest.mark.usefixtures("plants")
def test_what_is_held_for_an_order_that_does_not_name_the_product_is_released() -> None:
    order_id, product_id = place_one()
    other = shops.new_product(5)
    reservations.reserve(order_id, {other.product_id: 2})
    is_mended(other.product_id, code=Code.RESERVATION_DEAD)
    assert (balance(other.product_id), balance(product_id)) == ((5, 0), (5, 2))


def test_what_is_held_under_a_strange_operation_is_found_and_left_alone(plants: Plants) -> None:
    product = shops.new_product(5)
    plants.run(
        "INSERT INTO @stocks (product_id, kind, sequence, operation_id, order_id, held, operation_state) "
        "VALUES (%s, 1, 0, %s, %s, 2, 'HELD')",
        product.product_id,
        uuid4(),
        uuid4(),
    )
    is_beyond_repair(product.product_id, code=Code.RESERVATION_DEAD)
    is_beyond_repair(product.product_id, code=Code.RESERVED_WRONG)


@pytest.mark.parametrize(
    "change", [f"DELETE FROM @stocks WHERE {OPERATION_ROW}", f"UPDATE @stocks SET held = 1 WHERE {OPERATION_ROW}"]
)
def test_an_order_that_does_not_hold_what_it_sold_is_found(plants: Plants, change: str) -> None:
    order_id, product_id = place_one()
    plants.run(change, product_id, reservations.operation_id_of(order_id, product_id))
    is_beyond_repair(order_id, code=Code.RESERVATION_WRONG)
    is_beyond_repair(product_id, code=Code.RESERVED_WRONG)


def test_an_order_that_was_fulfilled_and_still_holds_is_finished(plants: Plants) -> None:
    order_id, product_id = place_one()
    plants.run("UPDATE @orders SET status = 'FULFILLED', settled = true WHERE order_id = %s", order_id)
    is_mended(order_id, product_id, code=Code.RESERVATION_LEFT)
    assert balance(product_id) == (3, 0)


@pytest.mark.parametrize("quantity", [2, 1])
def test_a_fulfilment_long_ago_is_proven_by_its_movement_in_the_ledger(
    plants: Plants, monkeypatch: pytest.MonkeyPatch, quantity: int
) -> None:
    order_id, product_id = place_one(2)
    orders.pay(order_id, None, None)
    orders.fulfil(order_id)
    drain(monkeypatch, product_id)
    assert codes(order_id, product_id) == set()
    [taken] = [moved for moved in scans.walk_ledger(product_id, until=LEDGER_SPAN) if moved.reason == "FULFILLED"]
    assert not scans.find_reservations(product_id, [taken.operation_id])
    plants.run(
        "UPDATE @stock_ledger SET operation_id = %s, delta = %s WHERE product_id = %s AND span = 0 AND sequence = %s",
        uuid4() if taken.delta == -quantity else taken.operation_id,
        -quantity,
        product_id,
        taken.version,
    )
    is_beyond_repair(order_id, code=Code.FULFILMENT_WRONG)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ("UPDATE @orders SET order_total = 1 WHERE order_id = %s", Code.ORDER_TOTAL_WRONG),
        ("UPDATE @orders SET total = 1 WHERE order_id = %s AND line = 0", Code.ORDER_TOTAL_WRONG),
        ("DELETE FROM @orders WHERE order_id = %s AND line = 1", Code.ORDER_TOTAL_WRONG),
        ("DELETE FROM @orders WHERE order_id = %s AND line = 0", Code.ROW_INCOMPLETE),
        ("DELETE unit_price FROM @orders WHERE order_id = %s AND line = 0", Code.ROW_INCOMPLETE),
        ("DELETE user_id FROM @orders WHERE order_id = %s", Code.ROW_INCOMPLETE),
        ("UPDATE @orders SET status = 'LOST' WHERE order_id = %s", Code.ROW_INCOMPLETE),
    ],
)
def test_an_order_that_is_not_as_it_was_placed_is_found(plants: Plants, change: str, code: Code) -> None:
    some, more = shops.new_product(5), shops.new_product(5)
    order_id = place((some.product_id, 2), (more.product_id, 1)).head.order_id
    plants.run(change, order_id)
    is_beyond_repair(f"orders {order_id}", code=code)


@pytest.mark.usefixtures("plants")
def test_an_order_that_a_crash_left_is_in_flight_until_it_is_old_and_then_it_is_finished(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    product = shops.new_product(5)
    die_in(monkeypatch, order_rows, "change_status", partial(place, (product.product_id, 2)))
    [order_id] = [one.order_id for one in held_rows(product.product_id)]
    found = find_about(order_id, limit=LONG, repair=True)
    assert [(one.code, one.severity, one.repaired) for one in found] == [(Code.ORDER_LEFT, Severity.IN_FLIGHT, False)]
    is_mended(order_id, code=Code.ORDER_LEFT)
    assert orders.get(order_id).head.status == "REJECTED"
    assert balance(product.product_id) == (5, 0)


def held_rows(product_id: UUID) -> list[Any]:
    return [row for page in scans.walk_partition(product_id) for row in page if row.kind == 1]


@pytest.mark.usefixtures("plants")
@pytest.mark.parametrize(("end", "left"), [(orders.cancel, (5, 0)), (orders.fulfil, (3, 0))])
def test_an_order_whose_stock_has_not_followed_is_finished(
    monkeypatch: pytest.MonkeyPatch, end: Callable[[UUID], object], left: tuple[int, int]
) -> None:
    order_id, product_id = place_one()
    orders.pay(order_id, None, None)
    die_in(monkeypatch, orders, "_settle", partial(end, order_id))
    assert {one.severity for one in find_about(order_id, limit=LONG)} == {Severity.IN_FLIGHT}
    is_mended(order_id, code=Code.ORDER_LEFT)
    assert balance(product_id) == left


def test_an_order_that_is_not_listed_is_listed_again(plants: Plants) -> None:
    order_id, _ = place_one()
    head = orders.get(order_id).head
    for table, scope in ((listings.ORDERS, listings.ALL), (listings.USER_ORDERS, str(head.user_id))):
        listings.remove(table, scope, order_id, head.created_at)
    assert orders.find_page(user_id=head.user_id, limit=9, cursor=None).items == []
    assert len(find_about(order_id)) == 2
    is_mended(order_id, code=Code.LISTING_MISSING)
    [listed] = orders.find_page(user_id=head.user_id, limit=9, cursor=None).items
    assert listed.head.order_id == order_id
    assert plants


def product_in(category: str | None = None) -> Product:
    return shops.new_product(category=category or shops.new_key())


@pytest.mark.usefixtures("plants")
def test_products_and_users_that_are_not_listed_are_listed_again() -> None:
    product, user = product_in(), shops.new_user()
    listings.remove(listings.PRODUCTS, listings.ALL, product.product_id, product.created_at)
    listings.remove(listings.CATEGORIES, product.category, product.product_id, product.created_at)
    listings.remove(listings.USERS, listings.ALL, user.user_id, user.created_at)
    assert len(find_about(product.product_id, user.user_id)) == 3
    is_mended(product.product_id, user.user_id, code=Code.LISTING_MISSING)
    assert len(products.find_page(limit=9, cursor=None, category=product.category).items) == 1


def test_a_bucket_that_the_directory_does_not_name_is_announced_again(plants: Plants) -> None:
    product = product_in()
    plants.run("DELETE FROM @category_listing_directory WHERE scope = %s", product.category)
    assert products.find_page(limit=9, cursor=None, category=product.category).items == []
    is_mended(product.category, code=Code.BUCKET_UNANNOUNCED)
    assert len(products.find_page(limit=9, cursor=None, category=product.category).items) == 1


@pytest.mark.usefixtures("plants")
def test_listing_rows_of_what_is_gone_are_removed_once_they_are_old(monkeypatch: pytest.MonkeyPatch) -> None:
    product, user = product_in(), shops.new_user()
    with monkeypatch.context() as planted:
        planted.setattr(listings, "remove", lambda *_: None)
        products.retire(product.product_id, None)
        users.delete(user.user_id, None)
    found = find_about(product.product_id, user.user_id, limit=LONG, repair=True)
    assert {one.severity for one in found} == {Severity.IN_FLIGHT}
    assert len(found) == 3
    is_mended(product.product_id, user.user_id, code=Code.LISTING_DEAD)


@pytest.mark.parametrize(
    ("shard", "day", "scope"), [(1, 0, listings.ALL), (0, 1, listings.ALL), (0, 0, "another scope")]
)
@pytest.mark.usefixtures("plants")
def test_a_listing_row_in_a_wrong_bucket_is_removed(shard: int, day: int, scope: str) -> None:
    product = product_in()
    table, (today, own_shard) = (
        listings.PRODUCTS,
        listings.bucket_of(listings.PRODUCTS, product.product_id, product.created_at),
    )
    listed = scans.Listed(
        scope,
        today + timedelta(days=day),
        (own_shard + shard) % table.shards,
        listings.position_of(product.product_id, product.created_at),
        product.product_id,
    )
    scans.announce(table, scope, (listed.day, listed.shard))
    table.rows.create(**listed._asdict())
    is_mended(product.product_id, code=Code.LISTING_DEAD)


@pytest.mark.usefixtures("plants")
def test_a_listing_row_that_was_written_anew_meanwhile_stays() -> None:
    product = product_in()
    listed = scans.Listed(
        product.category,
        *listings.bucket_of(listings.CATEGORIES, product.product_id, product.created_at),
        listings.position_of(product.product_id, product.created_at),
        product.product_id,
    )
    scans.take_off(listings.CATEGORIES, listed, written_before=clocks.now() - LONG)
    assert codes(product.product_id) == set()


@pytest.mark.usefixtures("plants")
def test_a_listing_row_of_what_never_was_is_removed() -> None:
    tables = (listings.PRODUCTS, listings.CATEGORIES, listings.USERS, listings.ORDERS, listings.USER_ORDERS)
    keys = {uuid4(): table for table in tables}
    for key, table in keys.items():
        listings.add(table, listings.ALL, key, clocks.now())
    assert len(find_about(*keys)) == len(keys)
    is_mended(*keys, code=Code.LISTING_DEAD)


def test_a_claim_that_is_missing_is_taken_again(plants: Plants) -> None:
    product, user = product_in(), shops.new_user()
    plants.run("DELETE FROM @claims WHERE kind = 'sku' AND value = %s", product.sku)
    plants.run("DELETE FROM @claims WHERE kind = 'email' AND value = %s", user.email)
    assert len(find_about(product.product_id, user.user_id)) == 2
    is_mended(product.product_id, user.user_id, code=Code.CLAIM_MISSING)
    with pytest.raises(SkuTaken):
        shops.new_product(sku=product.sku)
    with pytest.raises(EmailTaken):
        shops.new_user(email=user.email)


def test_a_claim_that_names_somebody_else_is_taken_over_unless_that_one_stands_behind_it(plants: Plants) -> None:
    one, other, rival = product_in(), product_in(), product_in()
    plants.run("UPDATE @claims SET holder_id = %s WHERE kind = 'sku' AND value = %s", other.product_id, one.sku)
    is_mended(one.product_id, code=Code.CLAIM_FOREIGN)
    plants.run("UPDATE @products SET sku = %s WHERE product_id = %s", one.sku, rival.product_id)
    is_beyond_repair(f"products {rival.product_id}", code=Code.CLAIM_FOREIGN)


def test_a_dead_claim_is_released_once_it_is_old(plants: Plants, monkeypatch: pytest.MonkeyPatch) -> None:
    product, user = product_in(), shops.new_user()
    with monkeypatch.context() as planted:
        planted.setattr(claim_rows, "release", lambda _: False)
        products.retire(product.product_id, None)
        users.delete(user.user_id, None)
    found = find_about(product.sku, user.email, limit=LONG, repair=True)
    assert {(one.code, one.severity) for one in found} == {(Code.CLAIM_DEAD, Severity.IN_FLIGHT)}
    is_mended(product.sku, user.email, code=Code.CLAIM_DEAD)
    nobody = shops.new_key()
    claim_rows.take("sku", nobody, uuid4(), uuid4())
    is_mended(nobody, code=Code.CLAIM_DEAD)
    assert plants.run("SELECT * FROM @claims WHERE kind = 'sku' AND value = %s", nobody) == []


@pytest.mark.usefixtures("plants")
@pytest.mark.parametrize("create", [shops.new_product, shops.new_user])
def test_what_was_left_half_made_is_finished_if_it_has_its_claim_and_refused_if_it_has_not(
    monkeypatch: pytest.MonkeyPatch, create: Callable[..., Any]
) -> None:
    unclaimed, claimed = (f"{shops.new_key()}@example.ca" for _ in range(2))
    name = "email" if create is shops.new_user else "sku"
    die_in(monkeypatch, claim_rows, "take", lambda: create(**{name: unclaimed}))
    die_in(monkeypatch, listings, "add", lambda: create(**{name: claimed}))
    found = find_about(unclaimed, claimed, limit=LONG, repair=True)
    assert [(one.severity, one.repaired) for one in found] == [(Severity.IN_FLIGHT, False)] * 2
    is_mended(unclaimed, claimed, code=Code.DRAFT_ORPHANED, also=Code.DRAFT_UNFINISHED)
    assert create(**{name: unclaimed})
    with pytest.raises((SkuTaken, EmailTaken)):
        create(**{name: claimed})


@pytest.mark.usefixtures("plants")
def test_a_product_that_was_given_up_while_it_was_created_is_not_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    take, sku = claim_rows.take, shops.new_key()

    def sleep_first(*args: Any) -> bool:
        if args[1] == sku:
            assert codes(sku, repair=True) == {Code.DRAFT_ORPHANED}
        return take(*args)

    with monkeypatch.context() as slow:
        slow.setattr(claim_rows, "take", sleep_first)
        with pytest.raises(OutcomeUnknown) as refused:
            shops.new_product(sku=sku)
    with pytest.raises(NotFound):
        products.get(UUID(refused.value.details["location"].rpartition("/")[2]))
    is_mended(sku, code=Code.CLAIM_DEAD)


@pytest.mark.usefixtures("plants")
def test_a_change_of_an_email_that_a_crash_left_is_finished_or_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    claimed, unclaimed = shops.new_user(), shops.new_user()
    emails = [f"{shops.new_key()}@example.ca" for _ in range(2)]
    die_in(monkeypatch, claims, "find_held", lambda: users.change(claimed.user_id, {"email": emails[0]}, None))
    die_in(monkeypatch, claims, "take", lambda: users.change(unclaimed.user_id, {"email": emails[1]}, None))
    assert len(find_about(claimed.user_id, unclaimed.user_id)) == 2
    is_mended(claimed.user_id, unclaimed.user_id, code=Code.EMAIL_PENDING)
    assert (users.get(claimed.user_id).email, users.get(unclaimed.user_id).email) == (emails[0], unclaimed.email)
    assert codes(claimed.email, emails[0], emails[1]) == set()


@pytest.mark.usefixtures("plants")
def test_the_claim_of_a_key_belongs_to_no_row_and_stays() -> None:
    product = shops.new_product()
    key = RequestKey(uuid4(), "digest", timedelta(seconds=30))
    stocks.count(product.product_id, 5, None, key)
    products.retire(product.product_id, None)
    assert codes(product.product_id, key.made_id) == set()


def test_the_command_says_what_is_wrong_and_exits_1_until_it_is_mended(sound: Plants) -> None:
    order_id, product_id = place_one()
    status, text = run(sound, "--json")
    assert (status, json.loads(text)["findings"]) == (0, [])
    sound.run("UPDATE @orders SET status = 'CANCELLED', settled = true WHERE order_id = %s", order_id)
    status, text = run(sound, "--json")
    report = json.loads(text)
    assert (status, report["wrong"]) == (1, 1)
    assert report["looked_at"]["orders"] > 0
    assert report["findings"] == [
        {
            "code": "RESERVATION_DEAD",
            "severity": "wrong",
            "what": f"2 units are held for order {order_id}, which is CANCELLED",
            "where": f"stocks {product_id}, operation {reservations.operation_id_of(order_id, product_id)}",
            "repairable": True,
            "repaired": False,
        }
    ]
    status, text = run(sound)
    assert status == 1
    assert "RESERVATION_DEAD" in text
    status, text = run(sound, "--repair")
    assert status == 0
    assert "0 wrong, 1 repaired" in text
    status, text = run(sound)
    assert status == 0
    assert "0 wrong, 0 repaired" in text


def run(plants: Plants, *options: str) -> tuple[int, str]:
    own = plants.settings
    environment = {
        "CASSANDRA_HOSTS": ",".join(own.cassandra_hosts),
        "CASSANDRA_PORT": str(own.cassandra_port),
        "CASSANDRA_KEYSPACE": own.cassandra_keyspace,
        "CASSANDRA_REPLICATION_FACTOR": str(own.cassandra_replication_factor),
        "COLUMNS": "200",
    }
    command = [sys.executable, "-c", "from store_manager.cli import main; main()", "audit", *options]
    ran = subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, timeout=AUDIT_S, check=False
    )
    return ran.returncode, ran.stdout


def test_every_statement_of_an_audit_was_prepared_before(database: Database, sound: Plants) -> None:
    place_one()
    before = list(database.session.prepared_late)
    assert find() == []
    assert list(database.session.prepared_late) == before
    assert sound
