"""What a driver's error means to the store: nothing happened, nobody knows, or the schema is behind.

The one place where driver errors are read; above it they don't exist.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cassandra import (
    ConsistencyLevel,
    CoordinationFailure,
    DriverException,
    InvalidRequest,
    ReadFailure,
    RequestValidationException,
    Timeout,
    Unauthorized,
    Unavailable,
)
from cassandra.cluster import NoHostAvailable
from cassandra.connection import ConnectionBusy, ConnectionException
from cassandra.pool import NoConnectionsAvailable
from cassandra.protocol import ErrorMessage, SyntaxException

from store_manager.database.statements import Kind
from store_manager.errors import DatabaseUnavailable, OutcomeUnknown, SchemaBehind, StoreError

if TYPE_CHECKING:
    from store_manager.database.replicas import Shortage

DRIVER_ERRORS = (
    DriverException,
    ErrorMessage,  # what the driver has no exception for arrives as the message itself, 0x1700 among them
    NoHostAvailable,
    NoConnectionsAvailable,
    ConnectionException,
    ConnectionBusy,
)

_MISSING = re.compile(
    r"unconfigured table|undefined column|(?:table|keyspace) \S+ does(?: not|n't) exist",
    re.IGNORECASE,
)


_NO_REASON, _INCOMPATIBLE_SCHEMA = 0, 3
"""What a replica that does not know a column yet gives as its reason; an older one gives none."""


class ReplicasBehind(DatabaseUnavailable):
    """Replicas could not read because they have yet to learn of a schema change that the coordinator knows."""


class CopyRefused(OutcomeUnknown):
    """A guarded write that was sent to several nodes was refused: it, or another copy of it that had applied before."""


def translate(error: Exception, kind: Kind, attempts: int, shortage: Shortage | None = None) -> Exception:
    """Return the store's error for a driver's error out of a statement of `kind` that was sent to `attempts` nodes.

    `shortage` is what this process knew to be missing when it was sent. A mistake in the statement itself is returned
    as it is: it is a bug, not a state of the database.
    """
    if isinstance(error, InvalidRequest) and _MISSING.search(str(error)):
        return SchemaBehind("The keyspace lacks a table or column that the Models declare: run `schema sync`")
    if isinstance(error, Unauthorized):
        return DatabaseUnavailable("The database refuses this to the service's user: its grants are missing")
    return error if _is_bug(error) else _translate_outcome(error, kind, attempts, shortage)


def is_shortage(error: StoreError) -> bool:
    """Tell whether this happened because too few copies can be reached: to try again at once would be in vain."""
    return _ALIVE in error.details


def _is_bug(error: Exception) -> bool:
    return isinstance(error, (RequestValidationException, SyntaxException))


def _translate_outcome(error: Exception, kind: Kind, attempts: int, shortage: Shortage | None) -> StoreError:
    if kind is Kind.READ and _is_schema_lag(error):
        return ReplicasBehind("Some nodes have yet to learn of a change of the schema")
    refusals = _refusals(error)
    missing = _say(refusals, shortage)
    if kind is Kind.READ or attempts == 0:
        return DatabaseUnavailable(_sentence(missing) or "The database did not answer", **missing)
    if len(refusals) == attempts and all(_is_certain(one, kind) for one in refusals):
        return DatabaseUnavailable(f"{_sentence(missing)}; nothing was written", **missing)
    return OutcomeUnknown("The database did not say whether this was written", **missing)


_REQUIRED, _ALIVE = "replicas_required", "replicas_alive"


def _refusals(error: Exception) -> list[Unavailable]:
    """Return each coordinator's word that too few copies are alive."""
    told = error.errors if isinstance(error, NoHostAvailable) else None
    causes = list(told.values()) if isinstance(told, dict) else [error]
    return [cause for cause in causes if isinstance(cause, Unavailable)]


def _is_certain(refusal: Unavailable, kind: Kind) -> bool:
    """Tell whether a coordinator refused before any copy was asked.

    Out of a conditional write the same error may come from its last phase, when the decision has been taken; the first
    one lacks the serial level.
    """
    return kind is Kind.WRITE or ConsistencyLevel.is_serial(refusal.consistency)


def _say(refusals: list[Unavailable], shortage: Shortage | None) -> dict[str, int]:
    if refusals:
        return {_REQUIRED: refusals[0].required_replicas, _ALIVE: refusals[0].alive_replicas}
    return {_REQUIRED: shortage.required, _ALIVE: shortage.alive} if shortage else {}


def _sentence(missing: dict[str, int]) -> str:
    return f"{missing[_REQUIRED]} copies have to answer, and {missing[_ALIVE]} can be reached" if missing else ""


def _is_schema_lag(error: Exception) -> bool:
    """Tell whether it may be one: a coordinator asks for all columns that it knows, whichever are selected."""
    reasons = set((error.error_code_map or {}).values()) if isinstance(error, ReadFailure) else set()
    return bool(reasons) and reasons <= {_NO_REASON, _INCOMPATIBLE_SCHEMA}


TOO_FEW_ALIVE, TOO_FEW_ANSWERED, NO_ANSWER = "TOO_FEW_ALIVE", "TOO_FEW_ANSWERED", "NO_ANSWER"


@dataclass(frozen=True)
class Failure:
    """Why a statement failed, in numbers: how many replicas its level requires, and how many there were.

    `reason` is `TOO_FEW_ALIVE` if the coordinator knew before it asked, `TOO_FEW_ANSWERED` if it asked and waited in
    vain, `NO_ANSWER` if no coordinator said how many there were; only then the numbers are None.
    """

    reason: str
    required: int | None = None
    found: int | None = None


def explain(error: Exception) -> Failure:
    """Return why a statement failed, from a driver's error."""
    if isinstance(error, Unavailable):
        return Failure(TOO_FEW_ALIVE, error.required_replicas, error.alive_replicas)
    if isinstance(error, (Timeout, CoordinationFailure)) and error.required_responses is not None:
        return Failure(TOO_FEW_ANSWERED, error.required_responses, error.received_responses)
    if isinstance(error, NoHostAvailable) and isinstance(error.errors, dict):  # sent again, until no node was left
        told = [explain(cause) for cause in error.errors.values() if isinstance(cause, Exception)]
        return next((failure for failure in reversed(told) if failure.required is not None), Failure(NO_ANSWER))
    return Failure(NO_ANSWER)
