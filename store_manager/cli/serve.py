"""`store-manager serve`: the HTTP service, on a Cassandra that runs elsewhere."""

from __future__ import annotations

import click

from store_manager import server
from store_manager.settings import load


@click.command()
def serve() -> None:
    """Serve the API over HTTP until Ctrl-C; settings come from the environment and from .env."""
    server.serve(load())
