"""The store's own errors, each with a static code and what a caller needs to act on it.

No HTTP here: the controllers map these to statuses, the command line to exit codes. No driver error either: the
database layer turns those into `DatabaseUnavailable` or `OutcomeUnknown`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar


class StoreError(Exception):
    """The root of all errors that the store raises on purpose; `details` is safe to show to the caller."""

    code: ClassVar[str] = "STORE_ERROR"

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = details


class SettingError(StoreError):
    """A setting has a value that is not allowed."""

    code = "SETTING_INVALID"


@dataclass(frozen=True)
class FieldError:
    """One field of a request that is wrong, and why."""

    param: str
    message: str


class RequestInvalid(StoreError):
    """The request is malformed: every offending field is named in `fields`."""

    code = "REQUEST_INVALID"

    def __init__(self, message: str, fields: list[FieldError]) -> None:
        super().__init__(message)
        self.fields = fields


class NotFound(StoreError):
    """What was asked for does not exist."""

    code = "NOT_FOUND"


class ProductNotFound(NotFound):
    """No product of the store has this id."""

    code = "PRODUCT_NOT_FOUND"


class StockNotFound(NotFound):
    """The stock of this product was never counted."""

    code = "STOCK_NOT_FOUND"


class OrderNotFound(NotFound):
    """No order has this id."""

    code = "ORDER_NOT_FOUND"


class UserNotFound(NotFound):
    """No user has this id."""

    code = "USER_NOT_FOUND"


class ReferenceInvalid(StoreError):
    """A well-formed request names something that does not exist or is retired: each is named in `fields`."""

    code = "REFERENCE_INVALID"

    def __init__(self, message: str, fields: list[FieldError]) -> None:
        super().__init__(message)
        self.fields = fields


class Conflict(StoreError):
    """The request conflicts with the present state."""

    code = "CONFLICT"


class SkuTaken(Conflict):
    """Another product holds this SKU."""

    code = "SKU_TAKEN"


class EmailTaken(Conflict):
    """Another user holds this e-mail."""

    code = "EMAIL_TAKEN"


class StockShort(Conflict):
    """There is less in stock than was asked for; `details["lines"]` names each short product."""

    code = "STOCK_SHORT"


class CountBelowReserved(Conflict):
    """A count would leave less on hand than is reserved for open orders."""

    code = "COUNT_BELOW_RESERVED"


class OrderStateConflict(Conflict):
    """The order's status does not allow this step."""

    code = "ORDER_STATE_CONFLICT"


class KeyInUse(Conflict):
    """The first call under this idempotency key is still at work."""

    code = "IDEMPOTENCY_KEY_IN_USE"


class KeySpent(Conflict):
    """The first call under this idempotency key was given up: nothing came of it, and nothing ever will."""

    code = "IDEMPOTENCY_KEY_SPENT"


class KeyReused(StoreError):
    """The idempotency key was used for another request."""

    code = "IDEMPOTENCY_KEY_REUSED"


class VersionStale(StoreError):
    """`If-Match` names a version that is no longer the current one."""

    code = "VERSION_STALE"


class DatabaseUnavailable(StoreError):
    """The database did not answer, and nothing was changed."""

    code = "DATABASE_UNAVAILABLE"


class Contended(DatabaseUnavailable):
    """Others kept changing the same thing for as long as this request may wait; nothing was changed."""

    code = "CONTENDED"


class OrderGivenUp(DatabaseUnavailable):
    """The order took so long that it was given up: nothing of it stays reserved."""

    code = "ORDER_GIVEN_UP"


class OutcomeUnknown(StoreError):
    """A write may or may not have happened; `details["location"]` says where to look, once it is known."""

    code = "OUTCOME_UNKNOWN"


class SchemaBehind(StoreError):
    """The keyspace lacks tables or columns that the Models declare."""

    code = "SCHEMA_BEHIND"
