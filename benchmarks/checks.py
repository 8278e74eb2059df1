"""Checks whether one order of events explains all that clients were told, and whether anything acknowledged is missing.

Every change of a stock has a version, in its movement and often in the answer. So the order need not be searched for:
the movements by version are the witness, and the check is a sort and a fold for each product. Pure: a history in,
breaches out.

    python -m benchmarks.checks history.jsonl
"""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from benchmarks import histories
from benchmarks.histories import History, Kind, MovementSeen, Operation, Outcome
from benchmarks.witnesses import RELEASED, RESERVED, TAKEN, VOIDED, Balance, gather
from store_manager.models.orders import CANCELLED, CONFIRMED, FULFILLED, PAID, PENDING, REJECTED

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from benchmarks.witnesses import Case, Ledger, Timeline, Witness

GONE = ""
"""The status of an order that is not there."""

FOLLOWED: dict[str, tuple[list[str], ...]] = {
    CONFIRMED: ([RESERVED],),
    PAID: ([RESERVED],),
    FULFILLED: ([RESERVED, TAKEN],),
    CANCELLED: ([RESERVED, RELEASED],),
    REJECTED: ([], [RESERVED, RELEASED]),
    GONE: ([], [RESERVED, RELEASED]),
}
"""By the status of an order, the movements that each of its products must show in the end."""

GIVEN_BACK = (CANCELLED, REJECTED, GONE)
"""The statuses whose orders may have left a VOID besides, which moves nothing."""

STEPS = {CANCELLED: Kind.CANCEL, FULFILLED: Kind.FULFIL, PAID: Kind.PAY}
"""By the status that it leads to, the step that a client must have asked for."""

USUAL = frozenset(
    {
        "NOT_SENT",
        "POSSIBLY_STALE",
        "STOCK_SHORT",
        "ORDER_STATE_CONFLICT",
        "COUNT_BELOW_RESERVED",
        "VERSION_STALE",
        "IDEMPOTENCY_KEY_SPENT",
        "DATABASE_UNAVAILABLE",
        "CONTENDED",
        "ORDER_GIVEN_UP",
    }
)
"""The refusals that well-formed requests may meet while others shop and nodes fail."""


class Rule(StrEnum):
    """What must hold."""

    ANSWERS = "no answer shows a failure of the store itself"
    VERSIONS = "each version of a stock is made once"
    BALANCE = "on_hand >= reserved >= 0 after every movement"
    HEAD = "the movements add up to the balance"
    ASKED = "every movement was asked for"
    ONCE = "what was acknowledged stands in the ledger as it was told, exactly once"
    REFUSED = "what was refused has not happened"
    FOLLOWS = "stock follows each order: all its units, reserved once, given back or taken once"
    READS = "a read of a version shows the balance of that version"
    FRESH = "who asks after an answer sees what it said, or what came later"
    SHORT = "who was refused for want of stock was told what there was at some moment meanwhile"
    BOUNDS = "the final stock lies between what is surely and what is possibly sold"
    READABLE = "every order that was answered 201 is readable and listed"
    LINES = "an order shows the lines that were asked for"
    STATUS = "an order has the status that its steps say"
    DECIDED = "no order stays PENDING"


@dataclass(frozen=True)
class Breach:
    """A rule that does not hold, for a product, an order or an operation, and how that shows."""

    rule: Rule
    subject: str
    detail: str


def check(history: History) -> list[Breach]:
    """Return everything that is wrong with a history: nothing, if one order of events explains it."""
    witness = gather(history)
    asked_for = _ids_asked_for(witness)
    return [
        *_check_answers(history.operations),
        *(breach for ledger in witness.ledgers.values() for breach in _check_ledger(ledger, history, asked_for)),
        *(breach for operation, own in witness.moves for breach in _check_move(operation, own, witness)),
        *(breach for case in witness.cases.values() for breach in _check_case(case)),
        *_check_order_of_events(witness),
        *_check_stock_reads(history.operations, witness),
        *_check_refusals(history.operations, witness),
        *_check_bounds(history, witness),
    ]


def _check_answers(operations: Iterable[Operation]) -> Iterator[Breach]:
    for operation in operations:
        for attempt in operation.attempts:
            refused = attempt.outcome is Outcome.FAIL and attempt.code not in USUAL
            if refused or attempt.code == "INTERNAL_ERROR":
                yield Breach(Rule.ANSWERS, attempt.operation, f"{attempt.kind}: {attempt.code}")


def _ids_asked_for(witness: Witness) -> set[str]:
    """Return the ids of all movements that somebody's order, adjustment or count explains."""
    by_orders = (rows for case in witness.cases.values() for rows in case.movements.values())
    own = (rows for _, rows in witness.moves)
    return {row.movement_id for rows in (*by_orders, *own) for row in rows}


def _check_ledger(ledger: Ledger, history: History, asked_for: set[str]) -> Iterator[Breach]:
    for place, row in enumerate(ledger.movements, start=1):
        if row.version != place:
            yield Breach(Rule.VERSIONS, ledger.product_id, f"version {place} is missing, or {row.version} stands twice")
            break
    for version, balance in enumerate(ledger.balances):
        if not balance.on_hand >= balance.reserved >= 0:
            yield Breach(Rule.BALANCE, ledger.product_id, f"version {version}: {balance}")
    for row in ledger.movements:
        if row.movement_id not in asked_for:
            yield Breach(Rule.ASKED, ledger.product_id, f"nobody asked for {row}")
    head = history.remains.stocks[ledger.product_id]
    last = ledger.balances[-1]
    if (head.quantity, head.reserved, head.version) != (last.on_hand, last.reserved, len(ledger.movements)):
        yield Breach(Rule.HEAD, ledger.product_id, f"{head}, but {len(ledger.movements)} movements add up to {last}")


def _check_move(operation: Operation, own: Sequence[MovementSeen], witness: Witness) -> Iterator[Breach]:
    """Hold an adjustment or a count against its movements."""
    subject = f"{operation.kind} {operation.attempts[0].operation}"
    if operation.outcome is Outcome.FAIL and operation.kind is Kind.ADJUST and own:
        yield Breach(Rule.REFUSED, subject, f"{operation.answer.code}, but {own}")
    if len(own) > 1:
        yield Breach(Rule.ONCE, subject, f"stands {len(own)} times: {own}")
    if operation.outcome is not Outcome.OK:
        return
    asked, told = operation.asked, operation.answer.told
    if not own:
        yield Breach(Rule.ONCE, subject, f"is not in the ledger, but was told {told}")
    elif operation.kind is Kind.ADJUST:
        row = own[0]
        seen = {"version": row.version, "movement_id": row.movement_id, "delta": row.delta, "reserved_delta": 0}
        if told != seen or row.delta != asked["delta"]:
            yield Breach(Rule.ONCE, subject, f"was told {told}, but the ledger has {row}")
    else:
        yield from _check_count(operation, witness.ledgers[asked["product_id"]], subject)


def _check_count(operation: Operation, ledger: Ledger, subject: str) -> Iterator[Breach]:
    asked, told = operation.asked, operation.answer.told
    if asked["if_match"] is not None and told["version"] != asked["if_match"] + 1:
        yield Breach(Rule.ONCE, subject, f"was done on another version than {asked['if_match']}: {told}")
    counted = Balance(asked["quantity"], told["reserved"])
    if ledger.balance_at(told["version"]) != counted:
        yield Breach(Rule.ONCE, subject, f"was told {told}, but the ledger has {ledger.balance_at(told['version'])}")


def _check_case(case: Case) -> Iterator[Breach]:
    yield from _check_presence(case)
    yield from _check_steps(case)
    yield from _check_lines(case)
    yield from _check_order_reads(case)
    for product_id, quantity in case.demand.items():
        yield from _check_following(case, product_id, quantity)


def _check_presence(case: Case) -> Iterator[Breach]:
    status = _status(case)
    if case.placing.outcome is Outcome.OK:
        if case.final is None or not case.listed:
            yield Breach(Rule.READABLE, case.order_id, "is not listed" if case.final else "is lost")
        elif status == REJECTED:
            yield Breach(Rule.STATUS, case.order_id, f"was answered 201, but is {status}")
    if case.placing.outcome is Outcome.FAIL and status not in (GONE, REJECTED):
        yield Breach(Rule.REFUSED, case.order_id, f"was refused ({case.placing.answer.code}), but is {status}")
    if status == PENDING:
        yield Breach(Rule.DECIDED, case.order_id, f"is PENDING: {case.final}")


def _check_steps(case: Case) -> Iterator[Breach]:
    reached = case.final.reached if case.final else ()
    for status, kind in STEPS.items():
        if case.was_acknowledged(kind) and status not in reached:
            yield Breach(Rule.STATUS, case.order_id, f"{kind} was acknowledged, but the order reached {reached}")
        if status in reached and not case.is_possible(kind):
            yield Breach(Rule.STATUS, case.order_id, f"is {status}, but nobody asked for it, or all were refused")
    if reached and _status(case) != reached[-1]:
        yield Breach(Rule.STATUS, case.order_id, f"is {_status(case)}, but its history ends {reached}")
    if CANCELLED in reached and FULFILLED in reached:
        yield Breach(Rule.STATUS, case.order_id, f"reached {reached}")


def _check_lines(case: Case) -> Iterator[Breach]:
    seen = [operation.answer.told["lines"] for operation in _answers_about(case)]
    if case.final:
        seen.append(case.final.lines)
    for lines in seen:
        if tuple(tuple(line) for line in lines) != case.lines:
            yield Breach(Rule.LINES, case.order_id, f"shows {lines}, but {case.lines} were asked for")
            return


def _check_order_reads(case: Case) -> Iterator[Breach]:
    """Hold that an answer about an order is as new as those before it, and that all of one version say the same."""
    answers = sorted(_answers_about(case), key=lambda operation: operation.answer.began_s)
    ends = sorted((operation.answer.ended_s, operation.answer.told["version"]) for operation in answers)
    statuses: dict[int, str] = {}
    newest, place = 0, 0
    for operation in answers:
        told = operation.answer.told
        while ends[place][0] < operation.answer.began_s:
            newest, place = max(newest, ends[place][1]), place + 1
        if told["version"] < newest:
            yield Breach(Rule.FRESH, case.order_id, f"version {told['version']} after {newest} had been told")
        if statuses.setdefault(told["version"], told["status"]) != told["status"]:
            yield Breach(
                Rule.READS, case.order_id, f"was {statuses[told['version']]} and is {told} at the same version"
            )
    if case.final and ends and case.final.version < max(version for _, version in ends):
        yield Breach(Rule.FRESH, case.order_id, f"is back at version {case.final.version}")


def _answers_about(case: Case) -> list[Operation]:
    return [one for one in (case.placing, *case.steps, *case.reads) if one.outcome is Outcome.OK]


def _check_following(case: Case, product_id: str, quantity: int) -> Iterator[Breach]:
    rows = case.movements[product_id]
    status = _status(case)
    moved = [(row.reason, row.delta, row.reserved_delta) for row in rows]
    if status in GIVEN_BACK:
        moved = [one for one in moved if one != (VOIDED, 0, 0)]
    expected = [[_moving(reason, quantity) for reason in reasons] for reasons in FOLLOWED.get(status, ())]
    if expected and moved not in expected:
        detail = f"{status or 'not there'}, {quantity} of product {product_id}: {moved}"
        yield Breach(Rule.FOLLOWS, case.order_id, detail)


def _moving(reason: str, quantity: int) -> tuple[str, int, int]:
    return {
        RESERVED: (RESERVED, 0, quantity),
        RELEASED: (RELEASED, 0, -quantity),
        TAKEN: (TAKEN, -quantity, -quantity),
    }[reason]


def _status(case: Case) -> str:
    return case.final.status if case.final else GONE


def _check_order_of_events(witness: Witness) -> Iterator[Breach]:
    """Hold that what was asked for after an answer has a later version than the one that the answer told of."""
    for product_id, timeline in witness.timelines.items():
        for began_s, version in timeline.possible:
            known = timeline.newest_known(began_s)
            if version <= known:
                detail = f"version {version} was asked for after version {known} had been told"
                yield Breach(Rule.FRESH, product_id, detail)


def _check_stock_reads(operations: Iterable[Operation], witness: Witness) -> Iterator[Breach]:
    for operation in operations:
        if operation.kind is Kind.READ_STOCK and operation.outcome is Outcome.OK:
            product_id, told = operation.asked["product_id"], operation.answer.told
            balance = witness.ledgers[product_id].balance_at(told["version"])
            if balance != Balance(told["quantity"], told["reserved"]) or balance.available != told["available"]:
                yield Breach(Rule.READS, product_id, f"was told {told}, but the ledger has {balance}")
            known = witness.timelines[product_id].newest_known(operation.began_s)
            if told["version"] < known:
                yield Breach(Rule.FRESH, product_id, f"version {told['version']} was read after {known} had been told")


def _check_refusals(operations: Iterable[Operation], witness: Witness) -> Iterator[Breach]:
    for operation in operations:
        if operation.answer.code != "STOCK_SHORT":
            continue
        for product_id, requested, available in _shortages(operation):
            timeline, ledger = witness.timelines[product_id], witness.ledgers[product_id]
            if available >= requested or not _was_short(operation, available, timeline, ledger):
                detail = f"{requested} of product {product_id} refused with {available} available"
                yield Breach(Rule.SHORT, operation.attempts[0].operation, detail)


def _shortages(operation: Operation) -> Iterator[tuple[str, int, int]]:
    """Yield each product that was refused: how many units were asked for, and how many there were."""
    asked, told = operation.asked, operation.answer.told
    if operation.kind is Kind.ADJUST:
        yield asked["product_id"], -asked["delta"], told["available"]
        return
    demand = Counter[str]()
    for product_id, quantity in asked["items"]:
        demand[product_id] += quantity
    for product_id, available in {line["product_id"]: line["available"] for line in told["lines"]}.items():
        yield product_id, demand[product_id], available


def _was_short(operation: Operation, available: int, timeline: Timeline, ledger: Ledger) -> bool:
    first = timeline.newest_known(operation.began_s)
    return ledger.had_available(available, first, timeline.newest_possible(operation.answer.ended_s))


def _check_bounds(history: History, witness: Witness) -> Iterator[Breach]:
    """Add up, without the ledger's movements of orders, what clients were told, and hold the final stock against it."""
    least, most = Counter[str](), Counter[str]()
    for operation, _ in witness.moves:
        delta = _delta(operation, witness)
        product_id = operation.asked["product_id"]
        if operation.outcome is Outcome.OK:
            least[product_id] += delta
            most[product_id] += delta
        elif operation.outcome is Outcome.UNKNOWN:
            least[product_id] += min(0, delta)
            most[product_id] += max(0, delta)
    for case in witness.cases.values():
        possibly = case.placing.outcome is not Outcome.FAIL and not case.was_acknowledged(Kind.CANCEL)
        surely = case.placing.outcome is Outcome.OK and not case.is_possible(Kind.CANCEL)
        for product_id, quantity in case.demand.items():
            least[product_id] -= quantity * possibly
            most[product_id] -= quantity * surely
    for product_id, stock in history.remains.stocks.items():
        available = stock.quantity - stock.reserved
        if not least[product_id] <= available <= most[product_id]:
            detail = f"{available} are available, which is not from {least[product_id]} to {most[product_id]}"
            yield Breach(Rule.BOUNDS, product_id, detail)


def _delta(operation: Operation, witness: Witness) -> int:
    """Return by how many units an adjustment or a count moves what is on hand, if it is done."""
    asked = operation.asked
    if operation.kind is Kind.ADJUST:
        return int(asked["delta"])
    version = operation.answer.told.get("version", (asked["if_match"] or 0) + 1)
    before = witness.ledgers[asked["product_id"]].balance_at(version - 1)
    return int(asked["quantity"]) - (before.on_hand if before else 0)


def main() -> None:
    """Check a history that was kept; exit 1 if anything is wrong with it."""
    console = Console(highlight=False, soft_wrap=True)
    breaches = check(histories.read(Path(sys.argv[1])))
    for breach in breaches:
        console.print(f"{breach.rule}: {breach.subject}: {breach.detail}", markup=False)
    console.print(f"{len(breaches)} breaches")
    sys.exit(bool(breaches))


if __name__ == "__main__":
    main()
