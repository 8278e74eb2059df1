"""Keeps the connection: tries at once, then again and again in the background, until the database answers.

Once connected, the driver itself finds nodes that come back; what stands here is only the time before that.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import structlog

from store_manager.errors import DatabaseUnavailable, SchemaBehind

if TYPE_CHECKING:
    from collections.abc import Callable

    from store_manager.database.connections import Database

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 5.0

log = structlog.get_logger(__name__)


class DatabaseKeeper:
    """Holds the database as soon as `connect` has made it and `prepare` has readied it."""

    def __init__(self, connect: Callable[[], Database], prepare: Callable[[], None]) -> None:
        self._connect = connect
        self._prepare = prepare
        self._connected: Database | None = None
        self._ready: Database | None = None
        self._reason: DatabaseUnavailable | SchemaBehind = DatabaseUnavailable("The database was not asked yet.")
        self._closing = threading.Event()

    def start(self) -> None:
        """Try once; if the database does not answer, return and go on trying in the background."""
        if not self._try():
            threading.Thread(target=self._keep_trying, name="database-keeper", daemon=True).start()

    def require(self) -> Database:
        """Return the database; raises DatabaseUnavailable or SchemaBehind, with the reason, while it is not ready."""
        if self._ready is None:
            raise type(self._reason)(self._reason.message)
        return self._ready

    def close(self) -> None:
        """Stop trying, and end the connection."""
        self._closing.set()
        if self._connected is not None:
            self._connected.close()

    def _keep_trying(self) -> None:
        pause_s = FIRST_PAUSE_S
        while not self._closing.wait(pause_s):
            try:
                if self._try():
                    return
            except Exception:  # if this thread ended, the service would wait for ever
                log.exception("database_attempt_failed")
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def _try(self) -> bool:
        try:
            if self._connected is None:
                self._connected = self._connect()
            self._prepare()
        except (DatabaseUnavailable, SchemaBehind) as error:
            if str(error) != str(self._reason):  # one line for each reason, not for each attempt
                log.warning("database_not_ready", reason=error.message)
            self._reason = error
            return False
        self._ready = self._connected
        return True
