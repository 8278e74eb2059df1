"""The stock of a product: one partition that holds its balance, its open operations and its recent movements.

Three Models share the table `stocks`, because a conditional batch stays in one table and one partition:

- `Stock`, the head: one live row that sorts first, with the balance and a `version` that only grows;
- `StockOperation`: a row for each reservation, by the id of its operation;
- `StockMovement`: a row for each version, what that version changed, by the same id.

Invariant: `on_hand >= reserved >= 0` in the head, `on_hand` is the sum of the movements' `delta`, `reserved` the sum
of their `reserved_delta`, and both sums are kept by one conditional batch on `version`. Movements, and the operations
that they settled, leave for the ledger (`LedgerMovement`) once no late write can ask for them.
"""

from __future__ import annotations

from uuid import UUID

from cassandra.cqlengine import columns

from store_manager.models.base import MAX_QUANTITY, StoreModel
from store_manager.models.marks import hidden, on_create, shown

HEAD, OPERATION, MOVEMENT = 0, 1, 2
"""The kinds of rows in a stock partition, in the order in which they sort."""

NO_OPERATION = UUID(int=0)

HELD, RELEASED, FULFILLED, VOID, DONE = "HELD", "RELEASED", "FULFILLED", "VOID", "DONE"
"""The states of an operation; VOID stands in the place of one that must never happen, DONE is a count or adjustment."""

DONE_LIFE_S = 7 * 24 * 3600
"""How long the key of a count or an adjustment is remembered, in seconds."""

LEDGER_SPAN = 10_000
"""How many versions one ledger partition covers."""


class StockPartition(StoreModel):
    """The key that all rows of a product's stock share."""

    __abstract__ = True

    product_id = shown(columns.UUID(partition_key=True), "The product")
    kind = hidden(columns.TinyInt(primary_key=True))
    sequence = hidden(columns.BigInt(primary_key=True, clustering_order="DESC"))
    operation_id = hidden(columns.UUID(primary_key=True))


class Stock(StockPartition):
    """The balance of one product. Serves: read and change a stock. Owned by LWT on `version`.

    The partition holds this row, the operations of orders that have not long ended, and the movements since `drained`.
    """

    __table_name__ = "stocks"

    on_hand = shown(columns.BigInt(), "Units on hand", name="quantity", example=56)
    reserved = shown(columns.BigInt(), "Units on hand that open orders hold", example=2)
    version = shown(columns.BigInt(), "Grows by one with every change", example=17)
    updated_at = shown(columns.DateTime(), "When it last changed, UTC")
    drained = hidden(columns.BigInt())

    @property
    def available(self) -> int:
        """Units that can still be sold."""
        return int(self.on_hand - self.reserved)


class StockOperation(StockPartition):
    """A reservation of a product for an order, or a count or adjustment under a key. Serves: doing each exactly once.

    Owned by LWT.
    """

    __table_name__ = "stocks"

    order_id = columns.UUID()
    held = columns.BigInt()
    operation_state = columns.Text()
    changed_at = columns.DateTime()
    request_digest = columns.Text()
    done_version = columns.BigInt()
    """Of a count or an adjustment under an idempotency key: the version that it made."""


class StockRow(Stock, StockOperation):
    """The head or an operation. Serves: reading the balance and what is held at one version. Never written."""

    __table_name__ = "stocks"


class MovementColumns(StoreModel):
    """What a movement says, in the stock partition and in the ledger alike."""

    __abstract__ = True

    movement_id = shown(columns.UUID(), "The movement's id")
    delta = on_create(
        columns.BigInt(),
        "Units added to what is on hand; negative takes away",
        example=-2,
        minimum=-MAX_QUANTITY,
        maximum=MAX_QUANTITY,
        required=True,
    )
    reserved_delta = shown(columns.BigInt(), "Units added to what is reserved", example=0)
    reason = on_create(
        columns.Text(),
        "Why it moved",
        example="DAMAGED",
        enum=["CORRECTION", "DAMAGED", "FOUND", "LOST", "RECEIVED", "RETURNED"],
        required=True,
    )
    note = on_create(columns.Text(), "Text for people", maxLength=500)
    created_at = shown(columns.DateTime(), "When it happened, UTC")
    batch_id = hidden(columns.UUID())
    """The conditional batch that wrote it: proves whose write made a version when an answer was lost."""


class StockMovement(StockPartition, MovementColumns):
    """What one version changed. Serves: the newest movements, and the proof of who wrote a version. Owned by LWT."""

    __table_name__ = "stocks"


class LedgerMovement(MovementColumns):
    """Movements that left the stock partition. Serves: the ledger, newest first. Plain, idempotent writes.

    A partition holds at most `LEDGER_SPAN` rows.
    """

    __table_name__ = "stock_ledger"

    product_id = shown(columns.UUID(partition_key=True), "The product")
    span = hidden(columns.BigInt(partition_key=True))
    sequence = shown(
        columns.BigInt(primary_key=True, clustering_order="DESC"),
        "The version of the stock that this movement made",
        name="version",
        example=18,
    )
    operation_id = hidden(columns.UUID())
