"""Stock on the real database: counts, adjustments, the ledger, and what many do at once."""

from __future__ import annotations

import threading
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
import shops
from cassandra.cqlengine.query import BatchQuery

from store_manager.dao import scans
from store_manager.dao import stocks as stock_rows
from store_manager.errors import (
    CountBelowReserved,
    OutcomeUnknown,
    ReferenceInvalid,
    StockNotFound,
    StockShort,
    VersionStale,
)
from store_manager.models.stocks import Stock, StockMovement
from store_manager.services import orders, products, reservations, stock_writers, stocks
from store_manager.services.orders import Item
from store_manager.services.rules import Operation, Verb

pytestmark = pytest.mark.usefixtures("database")


def sums(product_id: UUID) -> tuple[int, int]:
    """What the ledger adds up to, page by page."""
    on_hand = reserved = 0
    cursor = None
    while True:
        page = stocks.find_movements(product_id, limit=50, cursor=cursor)
        on_hand += sum(movement.delta for movement in page.items)
        reserved += sum(movement.reserved_delta for movement in page.items)
        cursor = page.next
        if cursor is None:
            return on_hand, reserved


def versions(product_id: UUID) -> list[int]:
    found, cursor = [], None
    while True:
        page = stocks.find_movements(product_id, limit=70, cursor=cursor)
        found += [movement.sequence for movement in page.items]
        cursor = page.next
        if cursor is None:
            return found


def test_a_first_count_creates_the_stock_and_the_next_one_sets_it() -> None:
    product = shops.new_product()
    stock, created = stocks.count(product.product_id, 5, None)
    assert (stock.on_hand, stock.version, created) == (5, 1, True)
    stock, created = stocks.count(product.product_id, 3, None)
    assert (stock.on_hand, stock.version, created) == (3, 2, False)
    assert stocks.get(product.product_id).available == 3


def test_what_was_never_counted_is_not_found_and_short() -> None:
    product = shops.new_product()
    with pytest.raises(StockNotFound):
        stocks.get(product.product_id)
    assert [short.available for short in reservations.reserve(uuid4(), {product.product_id: 1})] == [0]


def test_a_stock_needs_a_product_on_sale() -> None:
    product = shops.new_product()
    products.retire(product.product_id, None)
    for product_id in (uuid4(), product.product_id):
        with pytest.raises(ReferenceInvalid):
            stocks.count(product_id, 5, None)


def test_an_adjustment_answers_its_movement() -> None:
    product = shops.new_product(5)
    movement = stocks.adjust(product.product_id, {"delta": -2, "reason": "DAMAGED", "note": "fell"})
    assert (movement.delta, movement.reason, movement.note, movement.sequence) == (-2, "DAMAGED", "fell", 2)
    [read] = stocks.find_movements(product.product_id, limit=1, cursor=None).items
    assert (read.movement_id, read.delta, read.note) == (movement.movement_id, -2, "fell")
    assert stocks.get(product.product_id).on_hand == 3


def test_an_adjustment_below_what_is_available_is_refused() -> None:
    product = shops.new_product(5)
    reservations.reserve(uuid4(), {product.product_id: 4})
    with pytest.raises(StockShort):
        stocks.adjust(product.product_id, {"delta": -2, "reason": "LOST"})


def test_a_recount_below_what_is_reserved_is_refused_and_says_how_much_is() -> None:
    product = shops.new_product(5)
    reservations.reserve(uuid4(), {product.product_id: 4})
    with pytest.raises(CountBelowReserved) as refused:
        stocks.count(product.product_id, 3, None)
    assert refused.value.details["reserved"] == 4
    assert stocks.get(product.product_id).on_hand == 5


def test_a_count_on_a_version_that_has_passed_changes_nothing() -> None:
    product = shops.new_product(5)
    stocks.count(product.product_id, 6, 1)
    with pytest.raises(VersionStale):
        stocks.count(product.product_id, 7, 1)
    assert stocks.get(product.product_id).on_hand == 6


def test_many_at_once_leave_a_ledger_that_adds_up_version_by_version() -> None:
    product = shops.new_product(40)
    product_id = product.product_id
    order_ids = [uuid4() for _ in range(60)]

    def act(number: int) -> None:
        if number % 10 == 9:
            stocks.adjust(product_id, {"delta": 1, "reason": "FOUND"})
        reservations.reserve(order_ids[number], {product_id: 1})
        if number % 3 == 0:
            reservations.release(order_ids[number], [product_id])

    shops.at_once(60, act)
    stock = stocks.get(product_id)
    assert 0 <= stock.reserved <= stock.on_hand == 46
    assert sums(product_id) == (stock.on_hand, stock.reserved)
    assert versions(product_id) == list(range(stock.version, 0, -1))


def test_an_operation_happens_once_however_often_it_is_asked_for() -> None:
    product, order_id = shops.new_product(5), uuid4()
    shops.at_once(10, lambda _: reservations.reserve(order_id, {product.product_id: 2}))
    assert stocks.get(product.product_id).reserved == 2
    shops.at_once(10, lambda _: reservations.release(order_id, [product.product_id]))
    assert stocks.get(product.product_id).reserved == 0


def test_two_processes_that_write_one_product_lose_nothing() -> None:
    """Two sets of writers share nothing, as two processes do."""
    product, writers = shops.new_product(30), (stock_writers.StockWriters(), stock_writers.StockWriters())

    def buy(number: int) -> bool:
        operation = Operation(Verb.RESERVE, uuid4(), 1)
        done = stock_writers.await_done(writers[number % 2].submit(product.product_id, operation))
        return done.verdict.refusal is None

    assert shops.at_once(40, buy).count(True) == 30
    assert stocks.get(product.product_id).available == 0
    assert sums(product.product_id) == (30, 30)


def test_a_reservation_that_is_released_while_it_waits_holds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recovery gives an order up while its reservation waits for the writer: nobody who waits beside them is harmed."""
    product, order_id, gate = shops.new_product(5), uuid4(), threading.Event()
    find = stock_rows.find

    def find_later(*args: object, **options: object) -> object:
        gate.wait(10)
        return find(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(stock_rows, "find", find_later)
    writers, reservation = stock_writers.StockWriters(), reservations.operation_id_of(order_id, product.product_id)
    operations = [
        Operation(Verb.ADJUST, uuid4(), 1, reason="RECEIVED"),  # the writer begins with it, and the others gather
        Operation(Verb.RESERVE, reservation, 2, order_id=order_id),
        Operation(Verb.RELEASE, reservation),
        Operation(Verb.RESERVE, uuid4(), 1),
    ]
    futures = [writers.submit(product.product_id, operation) for operation in operations]
    gate.set()
    assert [stock_writers.await_done(future).verdict.refusal for future in futures] == [None] * 4
    stock = stocks.get(product.product_id)
    assert (stock.on_hand, stock.reserved) == (6, 1)


def test_a_release_that_comes_first_makes_the_reservation_impossible() -> None:
    product, order_id = shops.new_product(5), uuid4()
    reservations.release(order_id, [product.product_id])
    assert reservations.reserve(order_id, {product.product_id: 2}) == []  # not short: voided
    assert stocks.get(product.product_id).reserved == 0


def test_an_answer_that_was_lost_is_found_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The batch applies, but its answer is lost: the same batch sent again is refused, and proves to be ours."""
    product = shops.new_product(5)
    sent = []
    write = stock_rows._write_head

    def lose_the_first_answer(*args: object) -> None:
        write(*args)  # type: ignore[arg-type]
        sent.append(args)

    execute = BatchQuery.execute

    def execute_and_lose(batch: object) -> None:
        execute(batch)
        if len(sent) == 1:
            raise OutcomeUnknown("planted: the answer was lost")

    monkeypatch.setattr(stock_rows, "_write_head", lose_the_first_answer)
    monkeypatch.setattr(BatchQuery, "execute", execute_and_lose)
    assert stocks.adjust(product.product_id, {"delta": 3, "reason": "FOUND"}).sequence == 2
    assert len(sent) == 2
    assert stocks.get(product.product_id).on_hand == 8
    assert sums(product.product_id) == (8, 0)


def test_old_movements_leave_for_the_ledger_and_nothing_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stock_writers, "DRAIN_AFTER", timedelta(0))
    monkeypatch.setattr(stock_writers, "DRAIN_FROM", 20)
    monkeypatch.setattr(stock_writers, "DRAIN_TOGETHER", 10)
    monkeypatch.setattr(stock_writers, "DRAIN_EVERY", 5)
    product, order_ids = shops.new_product(100), []
    while stocks.get(product.product_id).drained < 20:
        order_ids.append(uuid4())
        assert len(order_ids) < 200, "nothing leaves the partition"
        reservations.reserve(order_ids[-1], {product.product_id: 1})
        reservations.release(order_ids[-1], [product.product_id])
    stock = stocks.get(product.product_id)
    in_partition = StockMovement.objects(product_id=product.product_id, kind=2).limit(None)
    assert min(row.sequence for row in in_partition) == stock.drained + 1
    assert versions(product.product_id) == list(range(stock.version, 0, -1))
    assert sums(product.product_id) == (100, 0)
    left = stock_rows.find_operations(product.product_id, [_operation(key, product.product_id) for key in order_ids])
    assert len(left) == (stock.version - stock.drained + 1) // 2


def test_a_stock_from_which_much_has_left_is_walked_in_slices_and_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    product, order_ids = shops.new_product(100), [uuid4() for _ in range(30)]
    for order_id in order_ids:
        reservations.reserve(order_id, {product.product_id: 1})
    head = stock_rows.find(product.product_id, serial=True)
    assert head is not None
    after = Stock(**dict(head) | {"version": head.version + 1, "drained": 12})
    movement = StockMovement(product_id=head.product_id, kind=2, sequence=after.version, operation_id=uuid4())
    leaving = stock_rows.Leaving(0, 12, ())
    assert stock_rows.commit(head, after, [stock_rows.Change(movement)], leaving)
    monkeypatch.setattr(scans, "LEFT_A_SLICE", 2)
    pages = list(scans.walk_partition(product.product_id))
    assert len(pages) > 4
    assert [entry.kind for entry in pages[0]] == [0]
    walked = [entry.operation_id for page in pages[1:] for entry in page]
    assert walked == sorted(_operation(key, product.product_id) for key in order_ids)


def _operation(order_id: UUID, product_id: UUID) -> UUID:
    return reservations.operation_id_of(order_id, product_id)


def test_stocks_and_reports_show_what_is_on_sale() -> None:
    much, little, gone = shops.new_product(50), shops.new_product(1), shops.new_product(1)
    products.retire(gone.product_id, None)
    listed = {stock.product_id for stock in stocks.find_page(limit=100, cursor=None).items}
    assert {much.product_id, little.product_id} <= listed
    assert gone.product_id not in listed
    low = {line.product.product_id for line in stocks.find_low(below=2, limit=100, cursor=None).items}
    assert little.product_id in low
    assert much.product_id not in low


def test_low_stock_counts_what_is_available_not_what_is_on_hand() -> None:
    product, user = shops.new_product(3), shops.new_user()
    orders.place(user.user_id, [Item(product.product_id, 3)], shops.CURRENCY)
    low = {line.product.product_id for line in stocks.find_low(below=1, limit=100, cursor=None).items}
    assert product.product_id in low
