"""The base of every Model: how rows are queried and written, and the limits that columns share.

No query stands here (`store_manager.dao`), no rule of the trade (`store_manager.services`).
"""

from __future__ import annotations

from cassandra.cqlengine.models import Model

from store_manager.database.querysets import StoreDMLQuery, StoreQuerySet

MAX_QUANTITY = 1_000_000_000
"""The most units that one request may name and that a product may have on hand."""

TABLE_OPTIONS: dict[str, str | int] = {"speculative_retry": "MIN(99p,50ms)"}
"""Every table's options: a coordinator asks a second replica after 50 ms, so that a hung one does not stall a read."""


class StoreModel(Model):
    """A Model whose inserts and updates have one statement shape each, whatever values are null."""

    __abstract__ = True
    __queryset__ = StoreQuerySet
    __dmlquery__ = StoreDMLQuery
    __options__ = TABLE_OPTIONS
