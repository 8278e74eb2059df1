"""A server that is killed between any two statements of what it does to an order: a recovery makes good for it."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest
import shops
import workers
from keyspaces import own_keyspace, used

from store_manager.dao import orders as order_rows
from store_manager.errors import KeySpent
from store_manager.services import audit, clocks, orders, recovery, reservations, stocks
from store_manager.services.findings import Finding, Patience
from store_manager.services.orders import Item
from store_manager.services.request_keys import RequestKey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from store_manager.database.connections import Database
    from store_manager.models.orders import Order
    from store_manager.settings import Settings

AT_ONCE = timedelta(seconds=-1)
"""The limit at which nothing counts as in flight."""


class CrashError(Exception):
    """The work stops here."""


@pytest.fixture(scope="module")
def keyspace(database: Database, settings: Settings) -> Iterator[Settings]:
    with own_keyspace(database, settings) as own:
        yield own


@pytest.fixture
def shop(keyspace: Settings) -> Iterator[Shop]:
    with used(keyspace):
        yield Shop(keyspace)


class Shop:
    """A store of two products, of which orders take two and one; processes that work on those orders are killed."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.mouse, self.keys = (shops.new_product(1_000).product_id for _ in range(2))
        self._user_id = shops.new_user().user_id
        self._order_ids: list[UUID] = []

    def kill_at_each_statement(self, acts: Iterator[Callable[[], object]]) -> int:
        return workers.kill_at_each_statement(self._settings, acts)

    def placing(self, *product_ids: UUID) -> Callable[[], Order]:
        """What places an order that was not there before."""
        key = RequestKey(uuid4(), "digest", lease=timedelta(0))
        self._order_ids.append(key.made_id)
        items = [Item(product_id, 1) for product_id in product_ids or (self.mouse, self.keys, self.mouse)]
        return partial(orders.place, self._user_id, items, shops.CURRENCY, key)

    def place(self) -> UUID:
        self.placing()()
        return self.last

    @property
    def last(self) -> UUID:
        return self._order_ids[-1]

    def recover(self) -> Counter[str | None]:
        """Recover; nothing is wrong then, and what the orders hold is what is reserved. Return how the orders ended."""
        assert all(one.finished for one in recovery.recover(recovery.Limits(pending=AT_ONCE, unpaid=None)))
        assert [one for one in audit.run(audit.plan(Patience(AT_ONCE))) if isinstance(one, Finding)] == []
        ends = Counter(self.statuses())
        held, taken = ends["CONFIRMED"] + ends["PAID"], ends["FULFILLED"]
        assert self.balances() == [(1_000 - 2 * taken, 2 * held), (1_000 - taken, held)]
        return ends

    def statuses(self) -> list[str | None]:
        found = [order_rows.find(order_id, serial=True) for order_id in self._order_ids]
        return [None if order is None else order.head.status for order in found]

    def balances(self) -> list[tuple[int, int]]:
        found = [stocks.get(product_id) for product_id in (self.mouse, self.keys)]
        return [(stock.on_hand, stock.reserved) for stock in found]


def test_placing_an_order(shop: Shop) -> None:
    placings = [shop.placing() for _ in range(40)]
    killed = shop.kill_at_each_statement(iter(placings))
    ends = shop.recover()
    assert ends["REJECTED"] >= 6  # from the order's writing on: two reservations, two listings, its confirmation
    assert ends["VOID"] >= 1  # noted, and not written
    assert set(ends) == {None, "VOID", "REJECTED", "CONFIRMED"}
    for placing in placings[:killed]:  # who sends it again is told what became of it, or places it now
        with suppress(KeySpent):
            assert placing().head.status == "CONFIRMED"
    again = shop.recover()
    assert again["CONFIRMED"] > ends["CONFIRMED"]
    assert (again["VOID"], again["REJECTED"]) == (ends["VOID"], ends["REJECTED"])


def test_placing_an_order_that_is_short(shop: Shop) -> None:
    none = shops.new_product(0).product_id
    shop.kill_at_each_statement(shop.placing(shop.mouse, none) for _ in range(40))
    ends = shop.recover()
    assert ends["REJECTED"] >= 6
    assert set(ends) <= {None, "VOID", "REJECTED"}


def test_paying_an_order(shop: Shop) -> None:
    shop.kill_at_each_statement(partial(orders.pay, shop.place(), "CARD", None) for _ in range(12))
    assert set(shop.recover()) == {"CONFIRMED", "PAID"}


def test_cancelling_an_order(shop: Shop) -> None:
    shop.kill_at_each_statement(partial(orders.cancel, shop.place()) for _ in range(20))
    ends = shop.recover()
    assert ends["CANCELLED"] >= 4  # from the decision on: two releases, and the note that they were made
    assert set(ends) == {"CONFIRMED", "CANCELLED"}


def test_fulfilling_an_order(shop: Shop) -> None:
    def fulfilling() -> Iterator[Callable[[], object]]:
        for _ in range(20):
            order_id = shop.place()
            orders.pay(order_id, None, None)
            yield partial(orders.fulfil, order_id)

    shop.kill_at_each_statement(fulfilling())
    ends = shop.recover()
    assert ends["FULFILLED"] >= 4
    assert set(ends) == {"PAID", "FULFILLED"}


@pytest.mark.parametrize(("where", "name"), [(order_rows, "insert"), (order_rows, "change_status")])
def test_recovering_an_order(shop: Shop, monkeypatch: pytest.MonkeyPatch, where: object, name: str) -> None:
    def crash(*_: object, **__: object) -> None:
        raise CrashError

    def recovering() -> Iterator[Callable[[], object]]:
        for _ in range(20):
            placing = shop.placing()
            with monkeypatch.context() as planted:
                planted.setattr(where, name, crash)
                with pytest.raises(CrashError):
                    placing()
            yield partial(orders.recover, shop.last, pending_before=clocks.now() + timedelta(hours=1))

    shop.kill_at_each_statement(recovering())
    assert set(shop.recover()) == {"VOID" if name == "insert" else "REJECTED"}


def test_moving_old_movements_to_the_ledger(shop: Shop) -> None:
    def draining() -> Iterator[Callable[[], object]]:
        for _ in range(20):
            product_id = shops.new_product(5).product_id
            reservations.release(uuid4(), [product_id])  # its operation leaves with the movements
            for quantity in (6, 7):
                stocks.count(product_id, quantity, None)
            drained.append(product_id)
            yield partial(workers.adjust_and_drain, product_id)

    drained: list[UUID] = []
    killed = shop.kill_at_each_statement(draining())
    shop.recover()
    assert [stocks.get(product_id).drained for product_id in drained[: killed + 1]] == [0] * killed + [3]
