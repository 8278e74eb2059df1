"""Two calls at work on one order, because the second took over from a first that was slow and not dead."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
import shops

from store_manager.dao import orders as order_rows
from store_manager.errors import StockShort
from store_manager.models.orders import CONFIRMED, PENDING, REJECTED, Order
from store_manager.services import clocks, orders, reservations, stocks
from store_manager.services.orders import Item
from store_manager.services.request_keys import RequestKey

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

pytestmark = pytest.mark.usefixtures("database")


class CrashError(Exception):
    """The first call stops here, and may go on."""


class Placing:
    """An order of one unit of each product whose first call has stopped before it reserved anything."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *on_hand: int) -> None:
        self.product_ids = [shops.new_product(quantity).product_id for quantity in on_hand]
        self._user_id = shops.new_user().user_id
        self._key = RequestKey(uuid4(), "digest", lease=timedelta(0))
        with monkeypatch.context() as planted:
            planted.setattr(reservations, "reserve", self._crash)
            with pytest.raises(CrashError):
                self.place()
        self.begun = self.read()

    def place(self) -> Order:
        return orders.place(self._user_id, [Item(key, 1) for key in self.product_ids], shops.CURRENCY, self._key)

    def read(self) -> Order:
        order = order_rows.find(self._key.made_id, serial=True)
        assert order is not None
        return order

    def reserved(self) -> list[int]:
        return [stocks.get(key).reserved for key in self.product_ids]

    @staticmethod
    def _crash(*_: object) -> None:
        raise CrashError


def meanwhile(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Let this happen once, between the reservations of the next call and its decision."""
    reserve = reservations.reserve

    def reserve_and_act(order_id: UUID, demand: Mapping[UUID, int]) -> list[reservations.Short]:
        short = reserve(order_id, demand)
        monkeypatch.setattr(reservations, "reserve", reserve)
        act()
        return short

    monkeypatch.setattr(reservations, "reserve", reserve_and_act)


def confirm(order: Order) -> Any:
    return order_rows.change_status(order, CONFIRMED, at=clocks.now(), settled=True)


def test_an_order_that_an_earlier_call_confirms_late_is_answered_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    placing = Placing(monkeypatch, 5)
    assert placing.begun.head.status == PENDING
    meanwhile(monkeypatch, lambda: confirm(placing.begun))
    assert placing.place().head.status == CONFIRMED
    assert placing.reserved() == [1]


def test_who_finds_too_little_answers_an_order_that_another_call_has_confirmed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    placing = Placing(monkeypatch, 5, 0)

    def restock_and_place() -> None:
        stocks.count(placing.product_ids[1], 5, None)
        assert placing.place().head.status == CONFIRMED

    meanwhile(monkeypatch, restock_and_place)
    assert placing.place().head.status == CONFIRMED
    assert placing.reserved() == [1, 1]


def test_what_one_call_reserves_while_another_rejects_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    placing = Placing(monkeypatch, 5, 0)

    def restock_and_place() -> None:
        stocks.count(placing.product_ids[1], 5, None)
        with monkeypatch.context() as planted:
            planted.setattr(order_rows, "change_status", lambda *_, **__: placing._crash())
            with pytest.raises(CrashError):
                placing.place()  # it reserves both, and dies

    meanwhile(monkeypatch, restock_and_place)
    with pytest.raises(StockShort):
        placing.place()
    assert placing.read().head.status == REJECTED
    assert placing.reserved() == [0, 0]


def test_who_confirms_what_was_rejected_meanwhile_gives_back_and_tells_what_was_short(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    placing = Placing(monkeypatch, 5, 0)
    short = reservations.reserve(placing.begun.head.order_id, dict.fromkeys(placing.product_ids, 1))
    stocks.count(placing.product_ids[1], 5, None)

    def reject() -> None:
        with pytest.raises(StockShort):
            orders._reject(placing.begun, short, alone=True)

    meanwhile(monkeypatch, reject)
    with pytest.raises(StockShort) as refused:
        placing.place()
    assert [line["product_id"] for line in refused.value.details["lines"]] == [str(placing.product_ids[1])]
    assert placing.reserved() == [0, 0]
