"""What a history can be held against: each product's ledger, each order's case, and when which version was known.

Gathered once from a history, judged by `benchmarks.checks`.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING
from uuid import UUID, uuid5

from benchmarks.histories import History, Kind, MovementSeen, Operation, OrderSeen, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable

RESERVED, RELEASED, TAKEN, VOIDED, COUNTED = "RESERVED", "RELEASED", "FULFILLED", "VOID", "COUNTED"
"""What a ledger calls the movements of orders, and those of counts."""

NEVER = 2**63
"""A version that no stock reaches."""


@dataclass(frozen=True, slots=True)
class Balance:
    """What is on hand and what is reserved."""

    on_hand: int
    reserved: int

    @property
    def available(self) -> int:
        """Units that can still be sold."""
        return self.on_hand - self.reserved


@dataclass
class Ledger:
    """One product's movements by version, and the balance after each; `balances[0]` is that before the first."""

    product_id: str
    movements: list[MovementSeen]
    balances: list[Balance] = field(init=False)
    by_id: dict[str, list[MovementSeen]] = field(init=False)
    by_note: dict[str, list[MovementSeen]] = field(init=False)
    _versions_by_available: dict[int, list[int]] = field(init=False)

    def __post_init__(self) -> None:
        """Sort, and fold."""
        self.movements = sorted(self.movements, key=lambda row: row.version)
        self.balances = list(accumulate(self.movements, _after, initial=Balance(0, 0)))
        self.by_id, self.by_note, self._versions_by_available = defaultdict(list), defaultdict(list), defaultdict(list)
        for row in self.movements:
            self.by_id[row.movement_id].append(row)
            if row.note is not None:
                self.by_note[row.note].append(row)
        for version, balance in enumerate(self.balances):
            self._versions_by_available[balance.available].append(version)

    def balance_at(self, version: int) -> Balance | None:
        """Return the balance of a version, None if the ledger has none."""
        return self.balances[version] if 0 <= version < len(self.balances) else None

    def had_available(self, available: int, first: int, last: int) -> bool:
        """Tell whether so many units were available at one of these versions."""
        versions = self._versions_by_available.get(available, [])
        place = bisect_left(versions, first)
        return place < len(versions) and versions[place] <= last


def _after(balance: Balance, movement: MovementSeen) -> Balance:
    return Balance(balance.on_hand + movement.delta, balance.reserved + movement.reserved_delta)


@dataclass
class Case:
    """One order: who placed it, every step and read of it, what remains of it, and its movements by product."""

    placing: Operation
    steps: list[Operation] = field(default_factory=list)
    reads: list[Operation] = field(default_factory=list)
    final: OrderSeen | None = None
    listed: bool = False
    movements: dict[str, list[MovementSeen]] = field(default_factory=dict)

    @property
    def order_id(self) -> str:
        """The order's id."""
        return str(self.placing.asked["order_id"])

    @property
    def lines(self) -> tuple[tuple[str, int], ...]:
        """The lines that were asked for."""
        return tuple((product_id, quantity) for product_id, quantity in self.placing.asked["items"])

    @property
    def demand(self) -> dict[str, int]:
        """How many units of each product were asked for in all."""
        demand: dict[str, int] = defaultdict(int)
        for product_id, quantity in self.lines:
            demand[product_id] += quantity
        return demand

    def was_acknowledged(self, kind: Kind) -> bool:
        """Tell whether a client was told that this step was taken."""
        return any(step.kind is kind and step.outcome is Outcome.OK for step in self.steps)

    def is_possible(self, kind: Kind) -> bool:
        """Tell whether this step may have been taken: somebody asked for it, and was not refused."""
        return any(step.kind is kind and step.outcome is not Outcome.FAIL for step in self.steps)


@dataclass
class Timeline:
    """When a version of one stock was known to somebody, and since when it was possible at the earliest."""

    known: list[tuple[float, int]] = field(default_factory=list)
    possible: list[tuple[float, int]] = field(default_factory=list)

    def seal(self) -> None:
        """Sort; call it once, before anything is asked."""
        self.known.sort()
        self.possible.sort()
        self._newest_known = list(accumulate((version for _, version in self.known), max))
        from_last = accumulate((version for _, version in reversed(self.possible)), min)
        self._oldest_possible = list(from_last)[::-1]

    def newest_known(self, moment_s: float) -> int:
        """Return the newest version that anybody was told of before this moment; 0 if nobody was told any."""
        place = bisect_left(self.known, (moment_s, -1))
        return self._newest_known[place - 1] if place else 0

    def newest_possible(self, moment_s: float) -> int:
        """Return the newest version that can have existed at this moment, for later ones were asked for after it."""
        place = bisect_right(self.possible, (moment_s, NEVER))
        return self._oldest_possible[place] - 1 if place < len(self._oldest_possible) else NEVER


@dataclass(frozen=True)
class Witness:
    """Everything that a history is held against."""

    ledgers: dict[str, Ledger]
    cases: dict[str, Case]
    timelines: dict[str, Timeline]
    moves: list[tuple[Operation, list[MovementSeen]]]
    """Each adjustment and count, with the movements that are its own."""


def gather(history: History) -> Witness:
    """Sort a history by product and by order."""
    ledgers = {key: Ledger(key, rows) for key, rows in history.remains.ledgers.items()}
    for product_id in history.remains.stocks:
        ledgers.setdefault(product_id, Ledger(product_id, []))
    cases = _gather_cases(history, ledgers)
    moves = [
        (operation, _moves_of(operation, ledgers[operation.asked["product_id"]]))
        for operation in history.operations
        if operation.kind in (Kind.ADJUST, Kind.COUNT)
    ]
    witness = Witness(ledgers, cases, {key: Timeline() for key in ledgers}, moves)
    _time_reads(history.operations, witness)
    for case in cases.values():
        _time_case(case, witness)
    for operation, movements in moves:
        _note(witness, operation.asked["product_id"], movements, operation.began_s, _told_s([operation]))
    for timeline in witness.timelines.values():
        timeline.seal()
    return witness


def movement_id_of(order_id: str, product_id: str, reason: str) -> str:
    """Return the id that an order's movement of a product has: the store derives it, so that each happens once."""
    return str(uuid5(uuid5(UUID(order_id), product_id), reason))


def _gather_cases(history: History, ledgers: dict[str, Ledger]) -> dict[str, Case]:
    remains = history.remains
    cases = {one.asked["order_id"]: Case(one) for one in history.operations if one.kind is Kind.PLACE}
    for order_id, case in cases.items():
        case.final = remains.orders.get(order_id)
        case.listed = order_id in remains.listed
        case.movements = {key: _movements_of(order_id, ledgers[key]) for key in case.demand}
    for operation in history.operations:
        if operation.kind in (Kind.PAY, Kind.FULFIL, Kind.CANCEL):
            cases[operation.asked["order_id"]].steps.append(operation)
        elif operation.kind is Kind.READ_ORDER:
            cases[operation.asked["order_id"]].reads.append(operation)
    return cases


def _movements_of(order_id: str, ledger: Ledger) -> list[MovementSeen]:
    ids = [movement_id_of(order_id, ledger.product_id, reason) for reason in (RESERVED, RELEASED, TAKEN, VOIDED)]
    found = [row for movement_id in ids for row in ledger.by_id.get(movement_id, ())]
    return sorted(found, key=lambda row: row.version)


def _moves_of(operation: Operation, ledger: Ledger) -> list[MovementSeen]:
    if operation.kind is Kind.ADJUST:
        return ledger.by_note.get(operation.asked["note"], [])
    version = operation.answer.told.get("version") or (operation.asked["if_match"] or 0) + 1
    return [row for row in ledger.movements[version - 1 : version] if row.reason == COUNTED]


def _time_reads(operations: Iterable[Operation], witness: Witness) -> None:
    for operation in operations:
        if operation.kind is Kind.READ_STOCK and operation.outcome is Outcome.OK:
            known = (operation.answer.ended_s, operation.answer.told["version"])
            witness.timelines[operation.asked["product_id"]].known.append(known)


def _time_case(case: Case, witness: Witness) -> None:
    """Note since when an order's versions were possible: reserved by its placer, moved on by the first who asked."""
    by_kind = {kind: [step for step in case.steps if step.kind is kind] for kind in (Kind.CANCEL, Kind.FULFIL)}
    status = case.final.status if case.final else ""
    ends = by_kind[Kind.CANCEL] if status == "CANCELLED" else by_kind[Kind.FULFIL] if status == "FULFILLED" else []
    for product_id, movements in case.movements.items():
        first = [row for row in movements if row.reason == RESERVED]
        moved_on = [row for row in movements if row.reason in (RELEASED, TAKEN)]
        _note(witness, product_id, first, case.placing.began_s, _told_s([case.placing]))
        began_s = min((step.began_s for step in ends), default=case.placing.began_s)
        _note(witness, product_id, moved_on, began_s, _told_s(ends))


def _told_s(operations: Iterable[Operation]) -> float | None:
    """Return when somebody was first told that one of these was done, None if nobody was."""
    return min((one.answer.ended_s for one in operations if one.outcome is Outcome.OK), default=None)


def _note(
    witness: Witness, product_id: str, movements: Iterable[MovementSeen], began_s: float, told_s: float | None
) -> None:
    timeline = witness.timelines[product_id]
    for row in movements:
        timeline.possible.append((began_s, row.version))
        if told_s is not None:
            timeline.known.append((told_s, row.version))
