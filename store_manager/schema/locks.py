"""The lock: at most one changes the schema at a time, by a lease on one row that only conditional writes touch.

The lease has a version that only grows, and each holder keeps time by its own clock: it may run a statement only while
it is sure that nobody else thinks the lease over, and whoever wants to take it over first watches one version stand
still for as long as the lease lasts. No two clocks are ever compared. What the lock can't do is to stop a statement
that was sent in time and is carried out late: DDL knows no condition. So every step is safe to meet twice.
"""

from __future__ import annotations

import getpass
import os
import random
import socket
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from cassandra.cqlengine.query import LWTException
from cassandra.query import SimpleStatement

from store_manager.dao import conditional
from store_manager.database.deadlines import deadline
from store_manager.errors import DatabaseUnavailable, OutcomeUnknown, SchemaBehind, StoreError
from store_manager.schema.faults import LockHeld, LockLost

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from store_manager.database.connections import Database

NAME = "schema"
"""The key of the lock's only row."""

RENEWALS = 5
"""How many times a lease is renewed in the time that it lasts."""

MARGIN = 1 / 3
"""The part of a lease that must be left when a statement is sent: by its end, the statement has to be carried out."""

POLL_S = 0.5
RELEASE_S = 5.0
ATTEMPT_S = 10.0

# Goes on while the machine sleeps, where there is such a clock.
_now_s: Callable[[], float] = partial(time.clock_gettime, getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


@dataclass(frozen=True)
class LockState:
    """The lock as its row says it; `holder_id` is None while nobody holds it."""

    version: int
    holder_id: UUID | None
    holder: str | None
    purpose: str | None
    lease_s: float
    taken_at: datetime | None

    def __str__(self) -> str:
        """Say it to people."""
        if self.holder_id is None:
            return "nobody holds it"
        since = "" if self.taken_at is None else f" since {self.taken_at:%Y-%m-%d %H:%M:%S} UTC"
        return f"{self.holder} holds it{since} for {self.purpose}"


def name_self() -> str:
    """Return who this process is, for people: host, process, user."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container may run under a number that has no name
        user = str(os.getuid())
    return f"{socket.gethostname()}, process {os.getpid()}, user {user}"


def find_lock(database: Database, keyspace: str, *, serial: bool = False) -> LockState | None:
    """Return the state of the lock, None if it was never taken.

    Consistency: the read level, or SERIAL. Idempotent. Partition: (name).
    """
    query = SimpleStatement(
        f"SELECT version, holder_id, holder, purpose, lease_s, taken_at FROM {keyspace}.schema_lock "  # noqa: S608
        "WHERE name = %(name)s",
        consistency_level=conditional.SERIAL if serial else None,
    )
    row = database.session.execute(query, {"name": NAME}).one()
    return None if row is None else LockState(**row)


def release(database: Database, keyspace: str, seen: LockState) -> bool:
    """Let nobody hold the lock, if it is still as it was `seen`; return whether it was.

    Consistency: LWT on the version, which grows. Safe to send again. Partition: (name).
    """
    write = partial(
        _change,
        database,
        f"UPDATE {keyspace}.schema_lock SET version = %(next)s, holder_id = %(nobody)s "  # noqa: S608
        'WHERE name = %(name)s IF "version" = %(version)s',
        {"next": seen.version + 1, "nobody": None, "name": NAME, "version": seen.version},
    )
    return conditional.apply(write, lambda: _is_released(find_lock(database, keyspace, serial=True), seen))


def _is_released(found: LockState | None, seen: LockState) -> bool:
    return found is not None and found.version == seen.version + 1 and found.holder_id is None


def _take(database: Database, keyspace: str, seen: LockState | None, wanted: LockState) -> bool:
    """Write the row as it is `wanted`, if it is still as it was `seen`; return whether it was.

    Consistency: LWT on the version, which grows. Safe to send again. Partition: (name).
    """
    names = ("version", "holder_id", "holder", "purpose", "lease_s", "taken_at")
    values = {name: getattr(wanted, name) for name in names} | {"name": NAME}
    if seen is None:
        markers = ", ".join(f"%({name})s" for name in values)
        cql = f"INSERT INTO {keyspace}.schema_lock ({', '.join(values)}) VALUES ({markers}) IF NOT EXISTS"  # noqa: S608
    else:
        assigned = ", ".join(f"{name} = %({name})s" for name in names)
        cql = f'UPDATE {keyspace}.schema_lock SET {assigned} WHERE name = %(name)s IF "version" = %(seen)s'  # noqa: S608
        values["seen"] = seen.version
    return conditional.apply(
        partial(_change, database, cql, values),
        lambda: _is_ours(find_lock(database, keyspace, serial=True), wanted),
    )


def _is_ours(found: LockState | None, wanted: LockState) -> bool:
    return found is not None and (found.version, found.holder_id) == (wanted.version, wanted.holder_id)


def _change(database: Database, cql: str, values: dict[str, Any]) -> None:
    result = database.session.execute(cql, values)
    if not result.was_applied:
        raise LWTException(result.one())


class Lease:
    """The lock while this process holds it; renewed in the background until `stop`."""

    def __init__(self, database: Database, keyspace: str, state: LockState, asked_at_s: float) -> None:
        self._database = database
        self._keyspace = keyspace
        self._state = state
        self._renewed_at_s = asked_at_s
        self._lost: str | None = None
        self._renewing = threading.Lock()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="schema-lease", daemon=True)
        self._thread.start()

    @property
    def holder(self) -> str:
        """Who holds it, for people."""
        return str(self._state.holder)

    def require(self) -> None:
        """Return if a statement may be sent now; raises LockLost if others may hold the lock, or may soon.

        To be called before each statement: the lease is renewed first, so that a holder that was made to give the
        lock up (`schema unlock`) notices.
        """
        with suppress(DatabaseUnavailable, OutcomeUnknown):  # then what is left of the lease decides
            self._renew()
        if self._lost is None and self._left_s() < MARGIN * self._state.lease_s:
            self._lost = "it could not be renewed in time"
        if self._lost is not None:
            raise LockLost(
                f"The lock of the schema is lost ({self._lost}), so nothing more was run: run the sync again; it goes "
                "on from what there is then"
            )

    def stop(self) -> None:
        """Renew no more, and let others have the lock at once if that can be said; else they wait the lease out."""
        self._ending.set()
        self._thread.join()
        if self._lost is None:
            with suppress(DatabaseUnavailable, OutcomeUnknown), deadline(RELEASE_S):
                self._give_back(self._state)

    def _give_back(self, state: LockState) -> None:
        while not release(self._database, self._keyspace, state):
            found = find_lock(self._database, self._keyspace, serial=True)
            if found is None or found.holder_id != state.holder_id:
                return
            state = found  # a renewal that was interrupted before its answer came

    def _left_s(self) -> float:
        return self._renewed_at_s + self._state.lease_s - _now_s()

    def _keep(self) -> None:
        while not self._ending.wait(self._state.lease_s / RENEWALS) and self._lost is None:
            with suppress(StoreError):  # the next one may succeed, until the lease is over
                self._renew()

    def _renew(self) -> None:
        with self._renewing:
            while self._lost is None and not self._try_to_renew():
                pass

    def _try_to_renew(self) -> bool:
        """Write the next version; return whether that renewed the lease. If it can't be renewed, it is lost."""
        if self._left_s() <= 0:
            self._lost = "it was over before it could be renewed"
            return False
        asked_at_s = _now_s()
        wanted = replace(self._state, version=self._state.version + 1)
        with deadline(self._left_s()):
            if _take(self._database, self._keyspace, self._state, wanted):
                self._state, self._renewed_at_s = wanted, asked_at_s
                return True
            found = find_lock(self._database, self._keyspace, serial=True)
        if found is not None and found.holder_id == self._state.holder_id:
            self._state = found  # an earlier renewal, to which no answer came
        else:
            self._lost = str(found or "its row is gone")
        return False


@contextmanager
def hold(
    database: Database,
    keyspace: str,
    purpose: str,
    *,
    lease_s: float,
    wait_s: float,
    tell: Callable[[str], object] = lambda _sentence: None,
) -> Iterator[Lease]:
    """Hold the lock inside; raises LockHeld, which says who has it, if it can't be had within `wait_s`.

    `tell` hears whom it waits for.
    """
    lease = _wait(database, keyspace, purpose, lease_s=lease_s, end_s=_now_s() + wait_s, tell=tell)
    try:
        yield lease
    finally:
        lease.stop()


def _wait(
    database: Database, keyspace: str, purpose: str, *, lease_s: float, end_s: float, tell: Callable[[str], object]
) -> Lease:
    watch = _Watch(uuid4())
    while True:
        # A node that has yet to learn of the lock's table, or to answer, may do so next time.
        failed: Exception | None = None
        try:
            seen = find_lock(database, keyspace)
            if watch.may_take(seen):
                lease = _try(database, keyspace, seen, watch.holder_id, purpose, lease_s)
                if lease is not None:
                    return lease
        except (DatabaseUnavailable, OutcomeUnknown, SchemaBehind) as error:
            failed = error
        if _now_s() > end_s:
            raise failed or LockHeld(
                f"The lock of the schema could not be had: {watch.seen}. Wait for it, or, if that process is gone for "
                "certain, take it away by `store-manager schema unlock`"
            )
        if failed is not None and not watch.has_failed:
            tell(f"The lock of the schema can't be read or taken yet: {failed}")
        elif watch.is_news:
            tell(f"Waiting for the lock of the schema: {watch.seen}")
        watch.has_failed = failed is not None
        time.sleep(random.uniform(POLL_S / 2, POLL_S))  # noqa: S311 - spreads those who wait, keeps no secret


def _try(
    database: Database, keyspace: str, seen: LockState | None, holder_id: UUID, purpose: str, lease_s: float
) -> Lease | None:
    version = 1 if seen is None else seen.version + 1
    taken_at = datetime.now(UTC).replace(tzinfo=None)
    wanted = LockState(version, holder_id, name_self(), purpose, lease_s, taken_at)
    asked_at_s = _now_s()
    with deadline(ATTEMPT_S):
        applied = _take(database, keyspace, seen, wanted)
    return Lease(database, keyspace, wanted, asked_at_s) if applied else None


class _Watch:
    """What one who waits has seen of the lock: since when one version has stood still, by this process's clock."""

    def __init__(self, holder_id: UUID) -> None:
        self.holder_id = holder_id
        self.seen: LockState | None = None
        self.is_news = False
        self.has_failed = False
        self._since_s = 0.0

    def may_take(self, seen: LockState | None) -> bool:
        """Tell whether nobody else can hold the lock any more, now that it was seen like this."""
        before, self.seen, self.is_news = self.seen, seen, False
        # It is ours if an attempt to take it was carried out although no answer came.
        if seen is None or seen.holder_id in {None, self.holder_id}:
            return True
        self.is_news = before is None or before.holder_id != seen.holder_id
        if before is None or before.version != seen.version:
            self._since_s = _now_s()
            return False
        return _now_s() - self._since_s >= seen.lease_s
