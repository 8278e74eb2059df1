"""A server as `store-manager serve` starts it, which also tells how many conditional writes it has sent.

It may be asked to change stock in another way than the store's (`benchmarks.ways`), in place of the store's writers.

    python -c "from benchmarks.servers import main; main()" lock
"""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.counts import Counts
from benchmarks.ways import WAYS
from store_manager import app as composition
from store_manager import server, settings
from store_manager.database import connections
from store_manager.services import reservations, stocks

if TYPE_CHECKING:
    from flask import Flask

    from store_manager.database.connections import Database
    from store_manager.settings import Settings

PROGRAM = "from benchmarks.servers import main; main()"
PATH = "/benchmark/counts"

_load_store = server._load  # noqa: SLF001 - what a worker of the store runs


def load(way: str, settings: Settings) -> Flask:
    """Make the application of one worker, with these writers, and count what it sends."""
    counts = Counts()

    def connect_and_count(settings: Settings) -> Database:
        database = connections.connect(settings)
        counts.watch(database)
        return database

    setattr(composition, "connect", connect_and_count)  # noqa: B010 - mypy knows the real one
    writers = WAYS[way]()
    for service in (stocks, reservations):
        setattr(service, "WRITERS", writers)  # noqa: B010
    app = _load_store(settings)
    app.add_url_rule(PATH, view_func=counts.take)
    return app


def main() -> None:
    """Serve until a signal, by the settings of the environment; the way is the first argument."""
    server._load = partial(load, sys.argv[1])  # noqa: SLF001
    server.serve(settings.load())
