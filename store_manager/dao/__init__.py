"""The repositories: every query stands here, each with its consistency level, idempotence and partition.

No rule of the trade stands here, and nothing outside of this package queries a Model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from store_manager.dao import claims, listings, orders, products, recovery, repairs, stocks, users

if TYPE_CHECKING:
    from collections.abc import Callable

REHEARSALS: tuple[Callable[[], None], ...] = (
    claims.rehearse,
    listings.rehearse,
    orders.rehearse,
    products.rehearse,
    recovery.rehearse,
    repairs.rehearse,
    stocks.rehearse,
    users.rehearse,
)
"""Runs every query of every DAO once, so that each statement shape is prepared before the first request."""
