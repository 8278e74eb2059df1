"""The stock partitions: balance, operations and movements of a product, and the ledger of its older movements.

Only `commit` changes a stock partition, by one conditional batch on the head's version. What a batch should say is
decided by `store_manager.services`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from cassandra.cqlengine.query import BatchQuery, BatchType, ModelQuerySet

from store_manager.dao import conditional, rows
from store_manager.models.stocks import (
    DONE,
    DONE_LIFE_S,
    FULFILLED,
    HEAD,
    HELD,
    LEDGER_SPAN,
    MOVEMENT,
    NO_OPERATION,
    OPERATION,
    RELEASED,
    VOID,
    LedgerMovement,
    Stock,
    StockMovement,
    StockOperation,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

READ_TOGETHER = 50
"""How many heads or operations one statement reads: bounded, so that no coordinator gathers too much."""


@dataclass(frozen=True)
class Change:
    """What one version of a stock changes: its movement, and the state of a reservation if it is about one.

    `operation_before` is the state that the reservation must still have, None if it must not exist yet.
    """

    movement: StockMovement
    operation: StockOperation | None = None
    operation_before: str | None = None


@dataclass(frozen=True)
class Leaving:
    """The oldest movements of a partition, copied to the ledger: they may leave, and the operations they settled too.

    They are the versions after `drained`, up to `last`.
    """

    drained: int
    last: int
    settled: tuple[UUID, ...]


def find(product_id: UUID, *, serial: bool = False) -> Stock | None:
    """Return the head of a product's stock, or None if it was never counted.

    Consistency: the read level, or SERIAL when asked. Idempotent. Partition: (product_id).
    """
    found: Stock | None = rows.find(_head(product_id), serial=serial)
    return found


def find_many(product_ids: Iterable[UUID]) -> dict[UUID, Stock]:
    """Return the heads of those of these products that were ever counted, by product.

    Consistency: the read level. Idempotent. Partitions: each (product_id), `READ_TOGETHER` a statement.
    """
    found: dict[UUID, Stock] = {}
    for ids in rows.split(product_ids, READ_TOGETHER):
        heads = Stock.objects(product_id__in=ids, kind=HEAD, sequence=0, operation_id=NO_OPERATION).limit(None)
        found.update({head.product_id: head for head in heads})
    return found


def find_operations(product_id: UUID, operation_ids: Iterable[UUID]) -> dict[UUID, StockOperation]:
    """Return those of these reservations that have a row, by operation.

    Consistency: SERIAL. Idempotent. Partition: (product_id).
    """
    found: dict[UUID, StockOperation] = {}
    for ids in rows.split(operation_ids, READ_TOGETHER):
        operations = StockOperation.objects(product_id=product_id, kind=OPERATION, sequence=0, operation_id__in=ids)
        found.update({row.operation_id: row for row in operations.limit(None).consistency(conditional.SERIAL)})
    return found


def find_movement(product_id: UUID, version: int) -> StockMovement | LedgerMovement | None:
    """Return the movement that made a version, from the partition or from the ledger; None if nobody has made it.

    Consistency: SERIAL in the partition, the read level in the ledger, where nothing changes. Idempotent. Partitions:
    (product_id), then (product_id, span).
    """
    recent = StockMovement.objects(product_id=product_id, kind=MOVEMENT, sequence=version)
    older = LedgerMovement.objects(product_id=product_id, span=version // LEDGER_SPAN, sequence=version)
    found: StockMovement | LedgerMovement | None = recent.consistency(conditional.SERIAL).first() or older.first()
    return found


def commit(before: Stock | None, after: Stock, changes: list[Change], leaving: Leaving | None = None) -> bool:
    """Move a stock from the head that was read to the next one, with all its changes, or not at all.

    `leaving` is taken out of the partition with it; then `after.drained` is its last version. A head's `drained` moves
    on with that, and every batch is conditioned on it too, so a late one that counts on rows that have left fails.
    Returns whether it did; otherwise somebody else has moved it on, or a reservation was not as expected.
    Consistency: LWT, one batch on the head's version (or its absence) and on each reservation's state. Safe to send
    again: a version never comes back. Partition: (product_id).
    """
    batch_id = uuid4()
    first = changes[0].movement.sequence

    def write() -> None:
        # Built anew for each attempt: a BatchQuery numbers its placeholders when it is executed.
        with BatchQuery(batch_type=BatchType.Unlogged) as batch:
            _write_head(batch, before, after)
            _write_changes(batch, changes, batch_id)
            if leaving is not None:
                _take_out(batch, after.product_id, leaving)

    return conditional.apply(write, lambda: _batch_of(after.product_id, first) == batch_id)


def _write_head(batch: BatchQuery, before: Stock | None, after: Stock) -> None:
    if before is None:
        Stock.objects.batch(batch).if_not_exists().create(**dict(after))
    else:
        guarded = _head(after.product_id).iff(version=before.version, drained=before.drained)
        guarded.batch(batch).update(
            on_hand=after.on_hand,
            reserved=after.reserved,
            version=after.version,
            updated_at=after.updated_at,
            drained=after.drained,
        )


def _write_changes(batch: BatchQuery, changes: list[Change], batch_id: UUID) -> None:
    movements = StockMovement.objects.batch(batch)  # once for all: to copy a queryset takes longer than to write a row
    new_operations = StockOperation.objects.batch(batch).if_not_exists()
    for change in changes:
        if change.operation is not None:
            _write_operation(batch, new_operations, change.operation, change.operation_before)
        movements.create(**dict(change.movement) | {"batch_id": batch_id})


def _write_operation(batch: BatchQuery, new: ModelQuerySet, operation: StockOperation, before: str | None) -> None:
    if before is None:
        lasting = new.ttl(DONE_LIFE_S) if operation.operation_state == DONE else new
        lasting.create(**dict(operation))
    else:
        held = _operation(operation.product_id, operation.operation_id).iff(operation_state=before)
        held.batch(batch).update(operation_state=operation.operation_state, changed_at=operation.changed_at)


def _take_out(batch: BatchQuery, product_id: UUID, leaving: Leaving) -> None:
    movements = StockMovement.objects(product_id=product_id, kind=MOVEMENT, sequence__lte=leaving.last)
    movements.batch(batch).delete()
    for operation_id in leaving.settled:
        _operation(product_id, operation_id).batch(batch).delete()


def _head(product_id: UUID) -> ModelQuerySet:
    return Stock.objects(product_id=product_id, kind=HEAD, sequence=0, operation_id=NO_OPERATION)


def _operation(product_id: UUID, operation_id: UUID) -> ModelQuerySet:
    return StockOperation.objects(product_id=product_id, kind=OPERATION, sequence=0, operation_id=operation_id)


def _batch_of(product_id: UUID, version: int) -> UUID | None:
    movement = find_movement(product_id, version)
    return None if movement is None else movement.batch_id


def list_movements(stock: Stock, *, before: int, limit: int) -> list[StockMovement | LedgerMovement]:
    """Return up to `limit` movements of versions below `before`, newest first, from the partition, then the ledger.

    The partition is read down to the head's `drained` and not below, where it may hold what is deleted; if more has
    left since the head was read, the ledger has it.
    Consistency: the read level. Idempotent. Partitions: (product_id), then (product_id, span) from newer to older.
    """
    product_id = stock.product_id
    recent = StockMovement.objects(
        product_id=product_id, kind=MOVEMENT, sequence__gt=stock.drained, sequence__lt=before
    ).limit(limit)
    found: list[StockMovement | LedgerMovement] = list(recent)
    below = found[-1].sequence if found else before
    for span in range((below - 1) // LEDGER_SPAN, -1, -1):
        if len(found) >= limit or below <= 1:
            break
        older = LedgerMovement.objects(product_id=product_id, span=span, sequence__lt=below)
        found += list(older.limit(limit - len(found)))
    return found


def list_undrained(stock: Stock, *, limit: int) -> list[StockMovement]:
    """Return those of the `limit` oldest versions in a stock partition whose movements are there, oldest first.

    A movement never changes, so one that is read is right; if one is missing, its replicas were behind, or it has left.
    Consistency: the read level, so that no writer is disturbed. Idempotent. Partition: (product_id).
    """
    span = StockMovement.objects(
        product_id=stock.product_id,
        kind=MOVEMENT,
        sequence__gt=stock.drained,
        sequence__lte=stock.drained + limit,
    )
    return sorted(span.limit(None), key=lambda row: row.sequence)


def copy_to_ledger(stock: Stock, movements: list[StockMovement]) -> Leaving:
    """Copy the oldest movements to the ledger, without a gap after `drained`; return what may leave the partition then.

    Consistency: the write level. Idempotent. Partition: each (product_id, span).
    """
    for span in {row.sequence // LEDGER_SPAN for row in movements}:
        _copy(span, [row for row in movements if row.sequence // LEDGER_SPAN == span])
    settled = tuple(row.operation_id for row in movements if row.reason in (RELEASED, FULFILLED, VOID))
    return Leaving(stock.drained, movements[-1].sequence, settled)


def _copy(span: int, movements: list[StockMovement]) -> None:
    with BatchQuery(batch_type=BatchType.Unlogged) as batch:
        ledger = LedgerMovement.objects.batch(batch)
        for row in movements:
            values = {name: value for name, value in dict(row).items() if name != "kind"}
            ledger.create(span=span, **values)


def rehearse() -> None:
    """Run each query of this module once, so that its statements are prepared."""
    product_id, now = uuid4(), datetime(2000, 1, 1)  # noqa: DTZ001 - cqlengine's times are naive UTC
    key = {"product_id": product_id, "sequence": 0, "operation_id": NO_OPERATION}
    head = Stock(**key, kind=HEAD, on_hand=0, reserved=0, version=1, drained=0, updated_at=now)
    operation = StockOperation(**key, kind=OPERATION, held=1, operation_state=HELD, changed_at=now)
    done = StockOperation(**key, kind=OPERATION, operation_state=DONE, changed_at=now)
    movement = StockMovement(**key | {"sequence": 1}, kind=MOVEMENT, delta=0, reason=RELEASED, created_at=now)
    find(product_id)
    find(product_id, serial=True)
    find_many([product_id])
    find_operations(product_id, [product_id])
    commit(None, head, [Change(movement, operation)])
    commit(head, head, [Change(movement, operation, HELD)])
    commit(head, head, [Change(movement, done)])
    _batch_of(product_id, 1)
    list_movements(head, before=2, limit=1)
    list_undrained(head, limit=1)
    commit(head, head, [Change(movement)], copy_to_ledger(head, [movement]))
