"""How the schema's tools read and write their own tables: again, until the database answers."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

from store_manager.dao import conditional
from store_manager.errors import DatabaseUnavailable, OutcomeUnknown, SchemaBehind

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

WORTH_ANOTHER = (DatabaseUnavailable, OutcomeUnknown, SchemaBehind)
"""What passes: no answer, and a node that has yet to learn of a table that was made just now."""


def insist(send: Callable[[], T]) -> T:
    """Send something idempotent again and again until it is answered, for half a minute or until the deadline."""
    failed: Exception | None = None
    for pause_s in conditional.pauses():
        try:
            return send()
        except WORTH_ANOTHER as error:
            failed = error
        time.sleep(pause_s)
    raise failed or DatabaseUnavailable("The time was over before the database was asked")
