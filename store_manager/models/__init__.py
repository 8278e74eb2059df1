"""The cqlengine Models: the one place that defines a table, and what the API shows of it."""

from __future__ import annotations

from store_manager.models.base import StoreModel
from store_manager.models.claims import Claim
from store_manager.models.orders import (
    OrderIntent,
    OrderIntentDirectory,
    OrderListing,
    OrderListingDirectory,
    OrderRow,
    RecoveryMark,
    UserOrderListing,
    UserOrderListingDirectory,
)
from store_manager.models.products import (
    CategoryListing,
    CategoryListingDirectory,
    Product,
    ProductListing,
    ProductListingDirectory,
)
from store_manager.models.repairs import Repair
from store_manager.models.stocks import LedgerMovement, Stock, StockMovement, StockOperation
from store_manager.models.users import User, UserListing, UserListingDirectory

MODELS: tuple[type[StoreModel], ...] = (
    Product,
    ProductListing,
    ProductListingDirectory,
    CategoryListing,
    CategoryListingDirectory,
    Claim,
    Stock,
    StockOperation,
    StockMovement,
    LedgerMovement,
    OrderRow,
    OrderListing,
    OrderListingDirectory,
    UserOrderListing,
    UserOrderListingDirectory,
    OrderIntent,
    OrderIntentDirectory,
    RecoveryMark,
    Repair,
    User,
    UserListing,
    UserListingDirectory,
)
"""Every Model, in the order in which the schema is made. A table that Models share has the columns of all of them."""

__all__ = [
    "MODELS",
    "CategoryListing",
    "CategoryListingDirectory",
    "Claim",
    "LedgerMovement",
    "OrderIntent",
    "OrderIntentDirectory",
    "OrderListing",
    "OrderListingDirectory",
    "OrderRow",
    "Product",
    "ProductListing",
    "ProductListingDirectory",
    "RecoveryMark",
    "Repair",
    "Stock",
    "StockMovement",
    "StockOperation",
    "StoreModel",
    "User",
    "UserListing",
    "UserListingDirectory",
    "UserOrderListing",
    "UserOrderListingDirectory",
]
