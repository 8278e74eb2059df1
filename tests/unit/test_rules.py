"""The rules of the trade, alone: no database, no clock."""

from __future__ import annotations

from decimal import Decimal
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store_manager.models.base import MAX_QUANTITY
from store_manager.models.orders import STATUSES
from store_manager.models.stocks import FULFILLED, HELD, RELEASED, VOID
from store_manager.services import rules
from store_manager.services.rules import Balance, Operation, Refusal, Reservation, Verb, fold, judge

IDS = [UUID(int=number) for number in range(1, 6)]


def reserve(quantity: int, operation_id: UUID | None = None) -> Operation:
    return Operation(Verb.RESERVE, operation_id or uuid4(), quantity)


def test_what_does_not_fit_is_refused_alone_and_the_others_go_on() -> None:
    verdicts = fold(Balance(on_hand=5), [reserve(3), reserve(3), reserve(2)], {})
    assert [verdict.refusal for verdict in verdicts] == [None, Refusal.SHORT, None]
    assert verdicts[-1].after == Balance(on_hand=5, reserved=5, version=2)


def test_a_refused_reservation_is_told_what_is_available() -> None:
    assert judge(Balance(on_hand=5, reserved=4), reserve(2), None).after.available == 1


@pytest.mark.parametrize("state", [HELD, FULFILLED])
def test_a_reservation_that_stands_is_done_again_without_a_change(state: str) -> None:
    verdict = judge(Balance(on_hand=5, reserved=2, version=7), reserve(2), Reservation(2, state))
    assert (verdict.refusal, verdict.changes, verdict.after.version) == (None, False, 7)


@pytest.mark.parametrize("state", [RELEASED, VOID])
def test_a_reservation_that_has_ended_cannot_be_made_again(state: str) -> None:
    assert judge(Balance(on_hand=5, version=1), reserve(2), Reservation(2, state)).refusal is Refusal.VOIDED


def test_a_release_gives_back_what_was_held_exactly_once() -> None:
    operation = Operation(Verb.RELEASE, IDS[0])
    verdicts = fold(Balance(on_hand=5, reserved=2, version=3), [operation, operation], {IDS[0]: Reservation(2, HELD)})
    assert [verdict.reserved_delta for verdict in verdicts] == [-2, 0]
    assert verdicts[-1].after == Balance(on_hand=5, reserved=0, version=4)


def test_a_release_of_what_was_never_reserved_stands_in_its_way() -> None:
    verdict = judge(Balance(on_hand=5, version=1), Operation(Verb.RELEASE, IDS[0]), None)
    assert (verdict.state, verdict.changes, verdict.reserved_delta) == (VOID, True, 0)


def test_a_release_after_fulfilment_is_refused() -> None:
    verdict = judge(Balance(on_hand=5, version=1), Operation(Verb.RELEASE, IDS[0]), Reservation(1, FULFILLED))
    assert verdict.refusal is Refusal.NOT_HELD


def test_fulfilment_takes_from_hand_and_from_what_is_reserved() -> None:
    verdict = judge(Balance(on_hand=5, reserved=3), Operation(Verb.FULFIL, IDS[0]), Reservation(2, HELD))
    assert verdict.after == Balance(on_hand=3, reserved=1, version=1)


@pytest.mark.parametrize("reservation", [None, Reservation(0, VOID), Reservation(2, RELEASED)])
def test_nothing_is_fulfilled_that_is_not_held(reservation: Reservation | None) -> None:
    verdict = judge(Balance(on_hand=5, version=1), Operation(Verb.FULFIL, IDS[0]), reservation)
    assert verdict.refusal is Refusal.NOT_HELD


@pytest.mark.parametrize("quantity", [0, -1])
def test_nothing_or_less_can_not_be_reserved(quantity: int) -> None:
    with pytest.raises(ValueError, match="reservation"):
        reserve(quantity)


def test_a_count_below_what_is_reserved_is_refused() -> None:
    verdict = judge(Balance(on_hand=5, reserved=3), Operation(Verb.COUNT, IDS[0], 2), None)
    assert (verdict.refusal, verdict.after.on_hand) == (Refusal.BELOW_RESERVED, 5)


def test_a_count_records_the_difference() -> None:
    assert judge(Balance(on_hand=5), Operation(Verb.COUNT, IDS[0], 3), None).delta == -2


def test_an_adjustment_below_zero_is_refused_not_clamped() -> None:
    verdict = judge(Balance(on_hand=5), Operation(Verb.ADJUST, IDS[0], -6), None)
    assert (verdict.refusal, verdict.after.on_hand) == (Refusal.BELOW_ZERO, 5)


def test_a_stock_has_a_most() -> None:
    verdict = judge(Balance(on_hand=MAX_QUANTITY), Operation(Verb.ADJUST, IDS[0], 1), None)
    assert verdict.refusal is Refusal.TOO_MUCH


def test_an_operation_on_a_version_that_has_passed_is_refused() -> None:
    operation = Operation(Verb.COUNT, IDS[0], 5, expected_version=3)
    assert judge(Balance(version=4), operation, None).refusal is Refusal.STALE


operations = st.one_of(
    [
        st.builds(
            Operation,
            verb=st.sampled_from(verbs),
            operation_id=st.sampled_from(IDS),
            quantity=st.integers(min_value=least, max_value=20),
        )
        for verbs, least in (([Verb.RESERVE], 1), ([verb for verb in Verb if verb is not Verb.RESERVE], 0))
    ]
)


@given(st.lists(operations, max_size=60))
def test_whatever_is_asked_the_balance_holds_and_the_movements_add_up(asked: list[Operation]) -> None:
    verdicts = fold(Balance(), asked, {})
    end = verdicts[-1].after if verdicts else Balance()
    for verdict in verdicts:
        assert 0 <= verdict.after.reserved <= verdict.after.on_hand
    assert sum(verdict.delta for verdict in verdicts) == end.on_hand
    assert sum(verdict.reserved_delta for verdict in verdicts) == end.reserved
    assert sum(verdict.changes for verdict in verdicts) == end.version


@given(st.lists(operations, max_size=40), st.integers(min_value=0, max_value=40))
def test_operations_in_two_batches_come_to_the_same_as_in_one(asked: list[Operation], cut: int) -> None:
    whole = fold(Balance(), asked, {})
    first = fold(Balance(), asked[:cut], {})
    known: dict[UUID, Reservation] = {}
    for verdict in first:
        if verdict.state is not None:
            known[verdict.operation.operation_id] = Reservation(verdict.held, verdict.state)
    rest = fold(first[-1].after if first else Balance(), asked[cut:], known)
    assert [*first, *rest] == whole


def test_lines_of_one_product_are_summed() -> None:
    assert rules.sum_by_product([(IDS[0], 2), (IDS[1], 1), (IDS[0], 3)]) == {IDS[0]: 5, IDS[1]: 1}


def test_a_line_costs_its_units_to_the_cent() -> None:
    assert rules.line_total(Decimal("29.9"), 3) == Decimal("89.70")


def test_every_status_says_what_may_follow() -> None:
    assert set(rules.FOLLOWS) == set(STATUSES)
