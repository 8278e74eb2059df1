"""The composition root: puts settings, database and controllers together to one WSGI application."""

from __future__ import annotations

import threading
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from flask import Flask

from store_manager.controllers import apis, scopes
from store_manager.controllers.contexts import EXTENSION, StoreContext
from store_manager.dao import REHEARSALS
from store_manager.database.connections import connect, prepare_all
from store_manager.database.keepers import DatabaseKeeper
from store_manager.errors import DatabaseUnavailable
from store_manager.services import recovery

if TYPE_CHECKING:
    from store_manager.database.connections import Database
    from store_manager.settings import Settings

WEB = Path(__file__).parent / "web"


def create_app(settings: Settings, database: Database | None = None) -> Flask:
    """Return the application; it connects in this process, unless it is given a database that is connected already.

    It answers 503 while the database is away, at its start and later, and comes back by itself.
    """
    app = Flask(__name__, static_folder=WEB / "static", template_folder=WEB / "templates")
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body_bytes
    keeper = DatabaseKeeper(
        partial(connect, settings) if database is None else lambda: database, partial(prepare_all, REHEARSALS)
    )
    app.extensions[EXTENSION] = StoreContext(settings, keeper)
    scopes.surround(app)
    apis.register(app)
    keeper.start()
    if database is None and settings.recovery_interval_s:
        _start_recovery(settings, keeper)
    return app


def require_schema(settings: Settings) -> None:
    """Return if the keyspace has all that the DAOs name; raises SchemaBehind if it has not.

    Returns also if the database does not answer: that passes, and the service waits for it.
    """
    with suppress(DatabaseUnavailable):
        database = connect(settings)
        try:
            prepare_all(REHEARSALS)
        finally:
            database.close()


def _start_recovery(settings: Settings, keeper: DatabaseKeeper) -> None:
    limits = recovery.limits_of(settings.order_pending_limit_s, settings.order_unpaid_limit_s)
    threading.Thread(
        target=recovery.keep_recovering,
        args=(limits, settings.recovery_interval_s, keeper.require),
        name="recovery",
        daemon=True,
    ).start()
