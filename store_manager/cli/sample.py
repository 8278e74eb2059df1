"""`store-manager sample`: a few products, their stock and a customer. Thin: see `store_manager.services.samples`."""

from __future__ import annotations

import click

from store_manager import dao, logs, settings
from store_manager.database import connections
from store_manager.services import samples


@click.command()
def sample() -> None:
    """Load a few products, their stock and a customer; what is there already is left as it is."""
    logs.configure("WARNING", "console")
    own = settings.load()
    database = connections.connect(own)
    try:
        connections.prepare_all(dao.REHEARSALS)
        for line in samples.load(own.store_currency):
            click.echo(line)
    finally:
        database.close()
