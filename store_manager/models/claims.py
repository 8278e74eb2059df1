"""Claims: who holds a value that must be unique in the store."""

from __future__ import annotations

from cassandra.cqlengine import columns

from store_manager.models.base import StoreModel

SKU, EMAIL, KEY = "sku", "email", "key"
"""What is claimed: a product's SKU, a user's e-mail, the idempotency key of a count."""


class Claim(StoreModel):
    """Who holds a unique value. Serves: find the holder of a SKU or e-mail. One row a partition. Owned by LWT.

    `claim_id` is new for each taking and never comes back, so that a late write conditioned on an old one fails.
    """

    __table_name__ = "claims"

    kind = columns.Text(partition_key=True)
    value = columns.Text(partition_key=True)
    holder_id = columns.UUID()
    claim_id = columns.UUID()
