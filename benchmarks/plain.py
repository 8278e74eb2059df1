"""The same API on the driver's defaults and plain cqlengine: what the store's session and policies are compared with.

The connection is the one that cqlengine makes by itself: no policy, no time-out, no speculation and no prepared
statement of the store's own. Only the consistency level is the store's, for its promises need it.

    CASSANDRA_HOSTS=… HTTP_PORT=… python -m benchmarks.plain
"""

from __future__ import annotations

import multiprocessing
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from cassandra import ConsistencyLevel
from cassandra.cqlengine import connection
from cassandra.query import UNSET_VALUE
from granian import Granian
from granian.constants import Interfaces

from store_manager import app, logs
from store_manager.database.health import Health, Part, Reach
from store_manager.settings import load

if TYPE_CHECKING:
    from flask import Flask

    from store_manager.database.connections import Database
    from store_manager.settings import Settings


class PlainSession:
    """The driver's session as it is, but for a null of an INSERT, which only a prepared statement can leave out."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)

    def execute(self, query: Any, parameters: dict[str, Any] | None = None, **options: Any) -> Any:
        """Send a statement, its values in its text."""
        bare = {key: None if value is UNSET_VALUE else value for key, value in (parameters or {}).items()}
        return self._raw.execute(query, bare, **options)


class PlainDatabase:
    """What the application asks of a database; it is always well."""

    def health(self) -> Health:
        """Know of no node."""
        return Health(())

    def reach(self) -> Reach:
        """Know of nothing that is missing."""
        return Reach(Part.ALL, Part.ALL)


def create_app(settings: Settings) -> Flask:
    """Return the store's application on cqlengine's own connection."""
    logs.configure("CRITICAL", settings.log_format)
    connection.setup(
        list(settings.cassandra_hosts), settings.cassandra_keyspace, consistency=ConsistencyLevel.LOCAL_QUORUM
    )
    own = connection.get_connection()
    own.session = PlainSession(own.session)
    setattr(app, "REHEARSALS", ())  # noqa: B010 - a plain session would run what is only to be prepared
    return app.create_app(settings, cast("Database", PlainDatabase()))


def main() -> None:
    """Serve until a signal."""
    settings = load()
    multiprocessing.set_start_method("spawn", force=True)
    server = Granian(
        "benchmarks.plain:create_app",
        address=settings.http_host,
        port=settings.http_port,
        interface=Interfaces.WSGI,
        blocking_threads=settings.http_threads,
        log_enabled=False,
    )
    server.serve(target_loader=partial(create_app, settings), wrap_loader=False)


if __name__ == "__main__":
    main()
