"""Orders and stock on the real database: nothing is sold twice, nothing that was refused stays reserved."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID, uuid4

import pytest
import shops

from store_manager.dao import listings as listing_rows
from store_manager.dao import orders as order_rows
from store_manager.errors import (
    DatabaseUnavailable,
    OrderNotFound,
    OrderStateConflict,
    OutcomeUnknown,
    ReferenceInvalid,
    RequestInvalid,
    StockShort,
    VersionStale,
)
from store_manager.models import Product
from store_manager.models.orders import Order
from store_manager.services import clocks, orders, products, reports, reservations, stocks, users
from store_manager.services.orders import Item

pytestmark = pytest.mark.usefixtures("database")


def place(user_id: UUID, *items: tuple[UUID, int]) -> Order:
    return orders.place(user_id, [Item(product_id, quantity) for product_id, quantity in items], shops.CURRENCY)


def balance(product_id: UUID) -> tuple[int, int]:
    stock = stocks.get(product_id)
    return stock.on_hand, stock.reserved


def test_an_order_holds_its_lines_prices_and_total() -> None:
    mouse, keys = shops.new_product(5), shops.new_product(5, price=Decimal("10.5"), name="Keys")
    user = shops.new_user()
    order = place(user.user_id, (mouse.product_id, 2), (keys.product_id, 1))
    read = orders.get(order.head.order_id)
    assert [(line.name, line.quantity, line.total) for line in read.lines] == [
        ("Mouse", 2, Decimal("59.98")),
        ("Keys", 1, Decimal("10.50")),
    ]
    assert (read.head.status, read.head.order_total, read.head.user_id) == ("CONFIRMED", Decimal("70.48"), user.user_id)
    assert [change.status for change in read.history] == ["PENDING", "CONFIRMED"]
    assert balance(mouse.product_id) == (5, 2)


@pytest.mark.parametrize("_round", range(10))
def test_of_twenty_buyers_of_two_units_exactly_two_get_one(_round: int) -> None:
    product, user = shops.new_product(2), shops.new_user()
    outcomes = shops.at_once(20, lambda _: place(user.user_id, (product.product_id, 1)))
    assert Counter(type(outcome) for outcome in outcomes) == {Order: 2, StockShort: 18}
    assert stocks.get(product.product_id).available == 0


def test_an_order_that_is_short_names_every_short_line_and_reserves_nothing() -> None:
    few, none, many = shops.new_product(1), shops.new_product(), shops.new_product(9)
    with pytest.raises(StockShort) as refused:
        place(shops.new_user().user_id, (many.product_id, 2), (few.product_id, 2), (none.product_id, 1))
    assert [(line["product_id"], line["requested"], line["available"]) for line in refused.value.details["lines"]] == [
        (str(few.product_id), 2, 1),
        (str(none.product_id), 1, 0),
    ]
    assert balance(many.product_id) == (9, 0)
    assert balance(few.product_id) == (1, 0)


def test_lines_of_one_product_are_summed_before_they_are_reserved() -> None:
    product, user = shops.new_product(3), shops.new_user()
    with pytest.raises(StockShort):
        place(user.user_id, (product.product_id, 2), (product.product_id, 2))
    order = place(user.user_id, (product.product_id, 2), (product.product_id, 1))
    assert len(orders.get(order.head.order_id).lines) == 2
    assert balance(product.product_id) == (3, 3)


def test_an_order_names_everything_that_is_not_there() -> None:
    product, gone = shops.new_product(1), shops.new_product(1)
    products.retire(gone.product_id, None)
    with pytest.raises(ReferenceInvalid) as refused:
        place(uuid4(), (product.product_id, 1), (gone.product_id, 1), (uuid4(), 1))
    assert [field.param for field in refused.value.fields] == [
        "user_id",
        "items[1].product_id",
        "items[2].product_id",
    ]
    assert balance(product.product_id) == (1, 0)


def test_a_cancelled_order_gives_its_units_back_exactly_once() -> None:
    product, user = shops.new_product(5), shops.new_user()
    order = place(user.user_id, (product.product_id, 3))
    outcomes = shops.at_once(8, lambda _: orders.cancel(order.head.order_id))
    assert [outcome.head.status for outcome in outcomes if isinstance(outcome, Order)] == ["CANCELLED"] * 8
    assert balance(product.product_id) == (5, 0)


def test_a_fulfilled_order_takes_its_units_from_hand_and_cannot_be_cancelled() -> None:
    product, user = shops.new_product(5), shops.new_user()
    order_id = place(user.user_id, (product.product_id, 3)).head.order_id
    orders.pay(order_id, "CARD", "ref-1")
    assert orders.fulfil(order_id).head.payment_method == "CARD"
    assert balance(product.product_id) == (2, 0)
    with pytest.raises(OrderStateConflict):
        orders.cancel(order_id)
    assert balance(product.product_id) == (2, 0)


def test_an_order_that_is_not_paid_cannot_be_fulfilled_and_is_paid_only_once() -> None:
    product, user = shops.new_product(5), shops.new_user()
    order_id = place(user.user_id, (product.product_id, 1)).head.order_id
    with pytest.raises(OrderStateConflict):
        orders.fulfil(order_id)
    orders.pay(order_id, None, None)
    with pytest.raises(OrderStateConflict):
        orders.pay(order_id, None, None)


def test_when_one_cancels_and_another_fulfils_only_one_of_them_does() -> None:
    product, user = shops.new_product(5), shops.new_user()
    order_id = place(user.user_id, (product.product_id, 2)).head.order_id
    orders.pay(order_id, None, None)
    acts = (orders.cancel, orders.fulfil)
    outcomes = shops.at_once(2, lambda number: acts[number](order_id))
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Order", "OrderStateConflict"]
    assert balance(product.product_id) == {"CANCELLED": (5, 0), "FULFILLED": (3, 0)}[orders.get(order_id).head.status]


def test_an_order_changed_since_it_was_read_is_left_alone() -> None:
    product, user = shops.new_product(5), shops.new_user()
    order = place(user.user_id, (product.product_id, 1))
    orders.pay(order.head.order_id, None, None)
    with pytest.raises(VersionStale):
        orders.cancel(order.head.order_id, version=order.head.version)


def test_what_stopped_after_the_decision_is_finished_by_the_same_call(monkeypatch: pytest.MonkeyPatch) -> None:
    product, user = shops.new_product(5), shops.new_user()
    order_id = place(user.user_id, (product.product_id, 3)).head.order_id

    def lose_the_database(*_: object) -> None:
        raise OutcomeUnknown("planted")

    with monkeypatch.context() as planted:
        planted.setattr(reservations, "release", lose_the_database)
        with pytest.raises(OutcomeUnknown) as unknown:
            orders.cancel(order_id)
    assert unknown.value.details["location"] == f"/orders/{order_id}"
    assert balance(product.product_id) == (5, 3)
    assert orders.cancel(order_id).head.status == "CANCELLED"
    assert balance(product.product_id) == (5, 0)


def test_an_order_whose_intent_could_not_be_noted_was_not_placed_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    product, user = shops.new_product(5), shops.new_user()

    def lose_the_database(*_: object) -> None:
        raise OutcomeUnknown("planted")

    monkeypatch.setattr(listing_rows, "add", lose_the_database)
    with pytest.raises(DatabaseUnavailable, match="nothing was changed"):
        place(user.user_id, (product.product_id, 3))
    assert balance(product.product_id) == (5, 0)


def test_an_order_of_a_hundred_lines_is_written_and_read_whole() -> None:
    user, made = shops.new_user(), shops.at_once(25, lambda _: shops.new_product(8))
    ids = [product.product_id for product in made if isinstance(product, Product)]
    order = place(user.user_id, *((ids[number % 25], 1) for number in range(100)))
    read = orders.get(order.head.order_id)
    assert len(read.lines) == 100
    assert read.head.order_total == Decimal("2999.00")
    assert {balance(product_id) for product_id in ids} == {(8, 4)}


def test_orders_are_listed_newest_first_by_user_day_and_status() -> None:
    product, user = shops.new_product(50), shops.new_user()
    placed = [place(user.user_id, (product.product_id, 1)).head.order_id for _ in range(5)]
    orders.cancel(placed[1])
    first = orders.find_page(user_id=user.user_id, limit=3, cursor=None)
    rest = orders.find_page(user_id=user.user_id, limit=3, cursor=first.next)
    assert [order.head.order_id for order in [*first.items, *rest.items]] == placed[::-1]
    assert rest.next is None
    cancelled = orders.find_page(user_id=user.user_id, status="CANCELLED", limit=9, cursor=None)
    assert [order.head.order_id for order in cancelled.items] == [placed[1]]
    today = orders.find_page(day=datetime.now(UTC).date(), limit=100, cursor=None)
    assert set(placed) <= {order.head.order_id for order in today.items}
    assert orders.find_page(day=date(2001, 1, 1), limit=9, cursor=None).items == []


def test_a_user_and_a_day_cannot_be_combined_and_the_answer_says_what_can() -> None:
    with pytest.raises(RequestInvalid, match="No table"):
        orders.find_page(user_id=uuid4(), day=date(2026, 1, 1), limit=9, cursor=None)


def test_an_order_that_is_not_there_is_not_found() -> None:
    with pytest.raises(OrderNotFound):
        orders.get(uuid4())


def test_a_rejected_order_is_not_listed_but_its_row_tells() -> None:
    product, user = shops.new_product(0), shops.new_user()
    with pytest.raises(StockShort):
        place(user.user_id, (product.product_id, 1))
    assert orders.find_page(user_id=user.user_id, limit=9, cursor=None).items == []


def test_a_listing_row_without_its_order_is_left_out() -> None:
    user_id, now = uuid4(), datetime.now(UTC).replace(tzinfo=None)
    listing_rows.add(listing_rows.USER_ORDERS, str(user_id), uuid4(), now)
    assert orders.find_page(user_id=user_id, limit=9, cursor=None).items == []


def test_a_status_is_changed_once_however_often_the_change_is_sent() -> None:
    product, user = shops.new_product(5), shops.new_user()
    order = place(user.user_id, (product.product_id, 1))
    read = orders.get(order.head.order_id)
    now = clocks.now()
    changed = shops.at_once(6, lambda _: order_rows.change_status(read, "PAID", at=now, settled=True))
    [written] = [order for order in changed if isinstance(order, Order)]
    assert changed.count(None) == 5
    assert dict(written.head) == dict(orders.get(order.head.order_id).head)


def test_reports_sum_what_was_sold_and_leave_out_what_was_cancelled() -> None:
    product, user = shops.new_product(50), shops.new_user(name="Big spender")
    today = datetime.now(UTC).date()
    place(user.user_id, (product.product_id, 20))
    orders.cancel(place(user.user_id, (product.product_id, 5)).head.order_id)
    best = reports.find_best_sellers(start=today, end=today, limit=100)
    assert [one.quantity for one in best if one.product_id == product.product_id] == [20]
    spenders = reports.find_highest_spenders(start=today, end=today, limit=100)
    [mine] = [one for one in spenders if one.user_id == user.user_id]
    assert (mine.name, mine.orders, mine.total) == ("Big spender", 1, Decimal("599.80"))
    users.delete(user.user_id, None)
    spenders = reports.find_highest_spenders(start=today, end=today, limit=100)
    assert [one.name for one in spenders if one.user_id == user.user_id] == [None]


def test_a_report_refuses_a_range_that_is_too_long_or_empty() -> None:
    for start, end in ((date(2026, 1, 1), date(2026, 3, 1)), (date(2026, 1, 2), date(2026, 1, 1))):
        with pytest.raises(RequestInvalid):
            reports.find_best_sellers(start=start, end=end, limit=1)
