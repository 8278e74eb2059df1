"""The history checker: it accepts what a flawless store answers, and finds each thing that is planted."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import histories
from benchmarks.checks import Rule, check
from benchmarks.histories import (
    Attempt,
    History,
    Journal,
    Kind,
    MovementSeen,
    Operation,
    OrderSeen,
    Outcome,
    Remains,
    StockSeen,
)
from benchmarks.witnesses import movement_id_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MOUSE, KEYS = (str(UUID(int=number)) for number in (1, 2))
OK, FAIL, UNKNOWN = Outcome.OK, Outcome.FAIL, Outcome.UNKNOWN


class Store:
    """A flawless store and its only client: what happens is told at once, a second apart."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.attempts: list[Attempt] = []
        self.remains = Remains()
        for product_id in (MOUSE, KEYS):
            self.remains.stocks[product_id] = StockSeen(quantity=0, reserved=0, version=0)
            self.remains.ledgers[product_id] = []
            self.count(product_id, 10, None)

    @property
    def history(self) -> History:
        return History.of(self.attempts, self.remains)

    def tell(
        self,
        kind: Kind,
        asked: dict[str, Any],
        outcome: Outcome = OK,
        code: str = "",
        told: dict[str, Any] | None = None,
    ) -> Attempt:
        attempt = Attempt(
            kind=kind,
            operation=f"operation-{len(self.attempts)}",
            began_s=self.now_s,
            ended_s=self.now_s + 0.5,
            outcome=outcome,
            code=code,
            asked=asked,
            told=told or {},
        )
        self.now_s += 1
        self.attempts.append(attempt)
        return attempt

    def move(self, product_id: str, reason: str, movement_id: str, delta: int, reserved_delta: int) -> MovementSeen:
        head = self.remains.stocks[product_id]
        row = MovementSeen(
            version=head.version + 1,
            movement_id=movement_id,
            delta=delta,
            reserved_delta=reserved_delta,
            reason=reason,
            note=movement_id,
        )
        self.remains.ledgers[product_id].append(row)
        self.remains.stocks[product_id] = StockSeen(
            quantity=head.quantity + delta, reserved=head.reserved + reserved_delta, version=head.version + 1
        )
        return row

    def available(self, product_id: str) -> int:
        return self.remains.stocks[product_id].quantity - self.remains.stocks[product_id].reserved

    def stock_told(self, product_id: str) -> dict[str, int]:
        head = self.remains.stocks[product_id]
        told = {"quantity": head.quantity, "reserved": head.reserved, "version": head.version}
        return told | {"available": head.quantity - head.reserved}

    def count(self, product_id: str, quantity: int, if_match: int | None) -> Attempt:
        delta = quantity - self.remains.stocks[product_id].quantity
        self.move(product_id, "COUNTED", f"count-{self.now_s}", delta, 0)
        asked = {"product_id": product_id, "quantity": quantity, "if_match": if_match}
        return self.tell(Kind.COUNT, asked, told=self.stock_told(product_id))

    def adjust(self, product_id: str, delta: int) -> Attempt:
        note = f"adjustment-{self.now_s}"
        asked = {"product_id": product_id, "delta": delta, "note": note}
        if self.available(product_id) + delta < 0:
            return self.tell(Kind.ADJUST, asked, FAIL, "STOCK_SHORT", {"available": self.available(product_id)})
        row = self.move(product_id, "RECEIVED", note, delta, 0)
        told = {"version": row.version, "movement_id": note, "delta": delta, "reserved_delta": 0}
        return self.tell(Kind.ADJUST, asked, told=told)

    def place(self, *items: tuple[str, int]) -> str:
        order_id = str(UUID(int=1000 + len(self.attempts)))
        asked = {"order_id": order_id, "user_id": "user", "items": items}
        demand = {product_id: sum(n for key, n in items if key == product_id) for product_id, _ in items}
        short = [key for key, quantity in demand.items() if quantity > self.available(key)]
        if short:
            lines: list[dict[str, Any]] = [{"product_id": key, "available": self.available(key)} for key in short]
            self.remains.orders[order_id] = OrderSeen(status="REJECTED", lines=items, reached=("REJECTED",), version=2)
            self.tell(Kind.PLACE, asked, FAIL, "STOCK_SHORT", {"lines": lines})
            return order_id
        for product_id, quantity in demand.items():
            self.move(product_id, "RESERVED", movement_id_of(order_id, product_id, "RESERVED"), 0, quantity)
        self.remains.orders[order_id] = OrderSeen(status="CONFIRMED", lines=items, reached=("CONFIRMED",), version=2)
        self.remains.listed.add(order_id)
        self.tell(Kind.PLACE, asked, told=self.order_told(order_id))
        return order_id

    def order_told(self, order_id: str) -> dict[str, Any]:
        order = self.remains.orders[order_id]
        return {"status": order.status, "lines": order.lines, "reached": order.reached, "version": order.version}

    def step(self, kind: Kind, order_id: str, status: str, reason: str | None = None, on_hand: int = 0) -> None:
        order = self.remains.orders[order_id]
        for product_id in dict.fromkeys(key for key, _ in order.lines if reason):
            quantity = sum(n for key, n in order.lines if key == product_id)
            movement_id = movement_id_of(order_id, product_id, str(reason))
            self.move(product_id, str(reason), movement_id, on_hand * quantity, -quantity)
        reached = (*order.reached, status)
        self.remains.orders[order_id] = replace(order, status=status, reached=reached, version=order.version + 1)
        self.tell(kind, {"order_id": order_id}, told=self.order_told(order_id))

    def cancel(self, order_id: str) -> None:
        self.step(Kind.CANCEL, order_id, "CANCELLED", "RELEASED")

    def pay(self, order_id: str) -> None:
        self.step(Kind.PAY, order_id, "PAID")

    def fulfil(self, order_id: str) -> None:
        self.step(Kind.FULFIL, order_id, "FULFILLED", "FULFILLED", on_hand=-1)

    def read_stock(self, product_id: str) -> Attempt:
        return self.tell(Kind.READ_STOCK, {"product_id": product_id}, told=self.stock_told(product_id))

    def read_order(self, order_id: str) -> Attempt:
        return self.tell(Kind.READ_ORDER, {"order_id": order_id}, told=self.order_told(order_id))

    def retell(self, place: int, **changes: Any) -> None:
        """Let a client have been told something else."""
        self.attempts[place] = replace(self.attempts[place], **changes)

    def told(self, place: int, **changes: Any) -> None:
        self.retell(place, told=self.attempts[place].told | changes)


def busy() -> Store:
    """A store in which everything has happened once; its attempts stand at known places."""
    store = Store()  # 0, 1
    kept = store.place((MOUSE, 2), (KEYS, 1), (MOUSE, 1))  # 2
    gone = store.place((MOUSE, 3))  # 3
    sold = store.place((KEYS, 2))  # 4
    store.cancel(gone)  # 5
    store.pay(sold)  # 6
    store.fulfil(sold)  # 7
    store.adjust(MOUSE, 5)  # 8
    store.adjust(MOUSE, -100)  # 9
    store.place((MOUSE, 100))  # 10
    store.read_stock(MOUSE)  # 11
    store.read_order(kept)  # 12
    store.count(KEYS, 8, store.remains.stocks[KEYS].version)  # 13
    return store


def order_at(store: Store, place: int) -> str:
    return str(store.attempts[place].asked["order_id"])


def rules(store: Store) -> set[Rule]:
    return {breach.rule for breach in check(store.history)}


def test_a_flawless_store_breaks_no_rule() -> None:
    assert check(busy().history) == []


@given(st.integers())
def test_no_flawless_history_is_blamed(seed: int) -> None:
    dice, store, open_orders = random.Random(seed), Store(), list[str]()
    for _ in range(dice.randint(1, 40)):
        product_id = dice.choice([MOUSE, KEYS])
        match dice.randint(0, 5):
            case 0:
                store.adjust(product_id, dice.randint(-8, 8))
            case 1:
                head = store.remains.stocks[product_id]
                store.count(product_id, head.quantity + dice.randint(0, 3), head.version)
            case 2 if open_orders:
                store.cancel(open_orders.pop())
            case 3 if open_orders:
                order_id = open_orders.pop()
                store.pay(order_id)
                store.fulfil(order_id)
            case 4:
                store.read_stock(product_id)
            case _:
                order_id = store.place(*[(dice.choice([MOUSE, KEYS]), dice.randint(1, 4)) for _ in range(3)])
                if store.remains.orders[order_id].status == "CONFIRMED":
                    open_orders.append(order_id)
    assert check(store.history) == []


@pytest.mark.parametrize("place", [3, 5, 7, 8, 13])
def test_what_was_done_may_have_been_left_unknown(place: int) -> None:
    store = busy()
    store.retell(place, outcome=UNKNOWN, code="OUTCOME_UNKNOWN", told={})
    assert check(store.history) == []


def test_what_was_not_done_may_have_been_left_unknown() -> None:
    store = busy()
    store.tell(Kind.PLACE, {"order_id": str(UUID(int=7)), "user_id": "user", "items": ((MOUSE, 1),)}, UNKNOWN, "LOST")
    store.tell(Kind.ADJUST, {"product_id": MOUSE, "delta": 9, "note": "never"}, UNKNOWN, "LOST")
    store.tell(Kind.CANCEL, {"order_id": order_at(store, 2)}, UNKNOWN, "LOST")
    store.tell(Kind.COUNT, {"product_id": MOUSE, "quantity": 9, "if_match": 99}, UNKNOWN, "LOST")
    assert check(store.history) == []


def test_a_rejected_order_may_have_given_units_back_and_left_a_void() -> None:
    store = busy()
    order_id = order_at(store, 10)
    for reason, reserved_delta in (("RESERVED", 100), ("RELEASED", -100)):
        store.move(MOUSE, "RECEIVED", "more", 100, 0) if reason == "RESERVED" else None
        store.move(MOUSE, reason, movement_id_of(order_id, MOUSE, reason), 0, reserved_delta)
    store.move(MOUSE, "VOID", movement_id_of(order_id, MOUSE, "VOID"), 0, 0)
    assert rules(store) == {Rule.ASKED, Rule.BOUNDS}  # of the units that nobody brought, and nothing else


def last_movement(store: Store, product_id: str, **changes: Any) -> None:
    ledger = store.remains.ledgers[product_id]
    ledger[-1] = replace(ledger[-1], **changes)


def adjust_twice(store: Store) -> None:
    store.move(MOUSE, "RECEIVED", "again", 5, 0)
    last_movement(store, MOUSE, note=store.attempts[8].asked["note"])


def reserve_twice(store: Store) -> None:
    store.move(MOUSE, "RESERVED", movement_id_of(order_at(store, 2), MOUSE, "RESERVED"), 0, 3)


def release_twice(store: Store) -> None:
    store.move(MOUSE, "RELEASED", movement_id_of(order_at(store, 3), MOUSE, "RELEASED"), 0, -3)


def release_what_is_kept(store: Store) -> None:
    store.move(MOUSE, "RELEASED", movement_id_of(order_at(store, 2), MOUSE, "RELEASED"), 0, -3)


def release_nothing(store: Store) -> None:
    order_id = store.place((KEYS, 1))
    order = store.remains.orders[order_id]
    store.remains.orders[order_id] = replace(order, status="CANCELLED", reached=("CONFIRMED", "CANCELLED"), version=3)
    store.tell(Kind.CANCEL, {"order_id": order_id}, told=store.order_told(order_id))


def reserve_too_little(store: Store) -> None:
    store.place((KEYS, 2))
    last_movement(store, KEYS, reserved_delta=1)
    store.remains.stocks[KEYS] = replace(store.remains.stocks[KEYS], reserved=2)


def reserve_all_but_a_line(store: Store) -> None:
    order_id = store.place((KEYS, 1))
    lines = ((KEYS, 1), (MOUSE, 1))
    store.remains.orders[order_id] = replace(store.remains.orders[order_id], lines=lines)
    store.retell(-1, asked=store.attempts[-1].asked | {"items": lines})
    store.told(-1, lines=lines)


def change_order(place: int, **changes: Any) -> Callable[[Store], None]:
    def change(store: Store) -> None:
        order_id = order_at(store, place)
        store.remains.orders[order_id] = replace(store.remains.orders[order_id], **changes)

    return change


def read_an_older_version(store: Store) -> None:
    store.read_stock(MOUSE)
    store.adjust(MOUSE, 1)
    store.retell(-2, began_s=store.now_s, ended_s=store.now_s + 1)


def read_an_order_before_it_was_paid(store: Store) -> None:
    order_id = order_at(store, 4)
    store.read_order(order_id)
    store.told(-1, status="CONFIRMED", reached=("CONFIRMED",), version=2)


def ask_later_and_be_first(store: Store) -> None:
    store.adjust(KEYS, 1)
    store.adjust(KEYS, 2)
    later = store.attempts[-2]
    store.retell(-2, began_s=later.began_s + 10, ended_s=later.ended_s + 10)


def count_what_was_not_on_hand(store: Store) -> None:
    store.count(KEYS, 5, store.remains.stocks[KEYS].version)
    last_movement(store, KEYS, delta=0)
    store.remains.stocks[KEYS] = replace(store.remains.stocks[KEYS], quantity=8)


@pytest.mark.parametrize(
    ("plant", "rule"),
    [
        pytest.param(lambda store: store.retell(11, outcome=UNKNOWN, code="INTERNAL_ERROR"), Rule.ANSWERS, id="500"),
        pytest.param(
            lambda store: store.retell(12, outcome=FAIL, code="ORDER_NOT_FOUND", told={}), Rule.ANSWERS, id="404"
        ),
        pytest.param(lambda store: last_movement(store, MOUSE, version=2), Rule.VERSIONS, id="a version twice"),
        pytest.param(lambda store: store.remains.ledgers[MOUSE].pop(2), Rule.VERSIONS, id="a version is missing"),
        pytest.param(lambda store: store.remains.ledgers[MOUSE].pop(), Rule.HEAD, id="the last movement is missing"),
        pytest.param(lambda store: store.move(MOUSE, "DAMAGED", "x", -99, 0), Rule.BALANCE, id="less than nothing"),
        pytest.param(lambda store: store.move(MOUSE, "FOUND", "x", 1, 0), Rule.ASKED, id="nobody asked"),
        pytest.param(
            lambda store: store.remains.stocks.update({MOUSE: StockSeen(quantity=15, reserved=0, version=5)}),
            Rule.HEAD,
            id="another balance",
        ),
        pytest.param(lambda store: last_movement(store, MOUSE, note="x"), Rule.ONCE, id="an adjustment is missing"),
        pytest.param(adjust_twice, Rule.ONCE, id="an adjustment twice"),
        pytest.param(lambda store: store.told(8, version=4), Rule.ONCE, id="an adjustment in another place"),
        pytest.param(lambda store: last_movement(store, MOUSE, delta=4), Rule.ONCE, id="another delta"),
        pytest.param(
            lambda store: store.retell(13, asked=store.attempts[13].asked | {"if_match": 1}),
            Rule.ONCE,
            id="a count on another version",
        ),
        pytest.param(count_what_was_not_on_hand, Rule.ONCE, id="a count that counts something else"),
        pytest.param(
            lambda store: store.retell(8, outcome=FAIL, code="STOCK_SHORT", told={"available": 1}),
            Rule.REFUSED,
            id="a refused adjustment in the ledger",
        ),
        pytest.param(change_order(10, status="CONFIRMED"), Rule.REFUSED, id="a refused order that is there"),
        pytest.param(reserve_twice, Rule.FOLLOWS, id="reserved twice"),
        pytest.param(release_twice, Rule.FOLLOWS, id="released twice"),
        pytest.param(release_what_is_kept, Rule.FOLLOWS, id="released, but not cancelled"),
        pytest.param(release_nothing, Rule.FOLLOWS, id="cancelled, but not released"),
        pytest.param(reserve_too_little, Rule.FOLLOWS, id="too little reserved"),
        pytest.param(reserve_all_but_a_line, Rule.FOLLOWS, id="a line is not reserved"),
        pytest.param(change_order(7, status="PAID"), Rule.FOLLOWS, id="taken, but not fulfilled"),
        pytest.param(lambda store: store.told(11, reserved=2, available=13), Rule.READS, id="a read between versions"),
        pytest.param(lambda store: store.told(11, available=99), Rule.READS, id="a read that does not add up"),
        pytest.param(lambda store: store.told(11, version=99), Rule.READS, id="a read of the future"),
        pytest.param(lambda store: store.told(12, status="PAID"), Rule.READS, id="an order that is two things"),
        pytest.param(read_an_older_version, Rule.FRESH, id="a stale read"),
        pytest.param(read_an_order_before_it_was_paid, Rule.FRESH, id="a stale read of an order"),
        pytest.param(change_order(4, version=1), Rule.FRESH, id="an order that went back"),
        pytest.param(ask_later_and_be_first, Rule.FRESH, id="before what came before"),
        pytest.param(lambda store: store.told(9, available=3), Rule.SHORT, id="a refusal for a stock that never was"),
        pytest.param(
            lambda store: store.retell(9, asked=store.attempts[9].asked | {"delta": -1}),
            Rule.SHORT,
            id="a refusal although there is enough",
        ),
        pytest.param(
            lambda store: store.told(10, lines=[{"product_id": MOUSE, "available": 7}]),
            Rule.SHORT,
            id="a refusal for a stock that was there before",
        ),
        pytest.param(lambda store: store.move(MOUSE, "FOUND", "x", 1, 0), Rule.BOUNDS, id="more than was brought"),
        pytest.param(lambda store: store.move(MOUSE, "LOST", "x", -1, 0), Rule.BOUNDS, id="less than was sold"),
        pytest.param(
            lambda store: store.remains.orders.pop(order_at(store, 2)), Rule.READABLE, id="an order that is lost"
        ),
        pytest.param(
            lambda store: store.remains.listed.remove(order_at(store, 2)), Rule.READABLE, id="an order that is unlisted"
        ),
        pytest.param(change_order(2, lines=((MOUSE, 2), (KEYS, 1))), Rule.LINES, id="a lost line"),
        pytest.param(lambda store: store.told(12, lines=((MOUSE, 3),)), Rule.LINES, id="a line that is read wrong"),
        pytest.param(change_order(2, status="REJECTED"), Rule.STATUS, id="201 and rejected"),
        pytest.param(change_order(5, reached=("CONFIRMED",)), Rule.STATUS, id="an acknowledged cancellation is undone"),
        pytest.param(
            change_order(2, status="CANCELLED", reached=("CONFIRMED", "CANCELLED")),
            Rule.STATUS,
            id="nobody cancelled it",
        ),
        pytest.param(
            change_order(7, reached=("CONFIRMED", "PAID", "CANCELLED", "FULFILLED")),
            Rule.STATUS,
            id="cancelled and fulfilled",
        ),
        pytest.param(change_order(2, status="PENDING"), Rule.DECIDED, id="pending for ever"),
    ],
)
def test_what_is_planted_in_a_history_is_found(plant: Callable[[Store], object], rule: Rule) -> None:
    store = busy()
    plant(store)
    assert rule in rules(store)


def test_every_rule_is_shown_by_a_plant() -> None:
    [marked] = [mark for mark in test_what_is_planted_in_a_history_is_found.pytestmark if mark.name == "parametrize"]  # type: ignore[attr-defined]
    assert {plant.values[1] for plant in marked.args[1]} == set(Rule)


def attempted(*answers: tuple[Outcome, str]) -> Operation:
    store = Store()
    return Operation(tuple(store.tell(Kind.PLACE, {}, outcome, code) for outcome, code in answers))


@pytest.mark.parametrize(
    ("answers", "outcome"),
    [
        ([(OK, "")], OK),
        ([(UNKNOWN, "LOST"), (OK, "")], OK),
        ([(FAIL, "NOT_SENT"), (FAIL, "DATABASE_UNAVAILABLE")], FAIL),
        ([(UNKNOWN, "LOST"), (FAIL, "DATABASE_UNAVAILABLE")], UNKNOWN),
        ([(UNKNOWN, "LOST"), (FAIL, "NOT_SENT")], UNKNOWN),
        ([(UNKNOWN, "LOST"), (FAIL, "STOCK_SHORT")], FAIL),
        ([(FAIL, "NOT_SENT"), (UNKNOWN, "LOST")], UNKNOWN),
    ],
)
def test_what_a_client_knows_after_all_its_attempts(answers: list[tuple[Outcome, str]], outcome: Outcome) -> None:
    assert attempted(*answers).outcome is outcome


def test_a_history_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    store, path = busy(), tmp_path / "history.jsonl"
    journal = Journal(path)
    for attempt in store.attempts:
        journal.write(attempt)
    journal.close(store.remains)
    read = histories.read(path)
    assert read.remains == store.remains
    assert len(read.operations) == len(store.attempts)
    assert check(read) == []
    assert [journal.orders[order_at(store, place)] for place in (2, 10)] == ["", "STOCK_SHORT"]
