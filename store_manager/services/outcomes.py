"""What a caller is told when a request stops halfway: that its outcome is unknown, and where to look."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from store_manager.errors import DatabaseUnavailable, OrderGivenUp, OutcomeUnknown

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def untouched() -> Iterator[None]:
    """Turn an unknown outcome into `DatabaseUnavailable`: nothing follows from what is written inside, if it is."""
    try:
        yield
    except OutcomeUnknown as error:
        raise DatabaseUnavailable("The database did not answer; nothing was changed.", **error.details) from error


@contextmanager
def located(location: str) -> Iterator[None]:
    """Turn any loss of the database into `OutcomeUnknown` at this address: something has been written before."""
    try:
        yield
    except OrderGivenUp:
        raise
    except (DatabaseUnavailable, OutcomeUnknown) as error:
        message = "The database did not answer in time; whether it was done is not known yet."
        raise OutcomeUnknown(message, **{**error.details, "location": location}) from error
