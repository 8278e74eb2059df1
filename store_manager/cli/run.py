"""`store-manager run` and `reset`: the whole store on this machine, on a Cassandra of its own.

Thin: nodes stand in `store_manager.lab`, the schema in `store_manager.schema`, the sample in `store_manager.services`.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from store_manager import dao, logs, readiness, server, settings
from store_manager.database import connections
from store_manager.lab import jars, owners
from store_manager.lab.clusters import Cluster
from store_manager.lab.faults import LabError
from store_manager.lab.nodes import DATA_CENTER, MOST_NODES
from store_manager.schema.runs import say
from store_manager.schema.syncs import sync
from store_manager.services import samples

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from store_manager.settings import Settings

MOST_REPLICAS = 3
READY_TIMEOUT_S = 60.0
POLL_S = 0.2

console = Console(stderr=True, highlight=False)


@click.command()
@click.option(
    "--nodes", type=click.IntRange(1, MOST_NODES), default=1, show_default=True, help="How many Cassandra nodes."
)
@click.option("--die-with-parent", is_flag=True, help="End at once when the process that started this one ends.")
def run(nodes: int, *, die_with_parent: bool) -> None:
    """Start the store on real Cassandra nodes of its own; Ctrl-C ends all of it.

    With CASSANDRA_HOSTS in the environment, that Cassandra is used instead and left running.
    """
    if sys.platform != "linux":
        raise LabError(
            "`store-manager run` needs Linux, whose kernel ends the nodes with it; elsewhere use Docker: "
            "docker compose -f compose/one-node.yml up --build"
        )
    if die_with_parent:
        owners.die_with(os.getppid())
    owners.heed_terminal()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    loaded = settings.load(log_format="console") if sys.stderr.isatty() else settings.load()
    loaded.check_certificate()  # this and the next before anything slow is started for nothing
    server.find_address(loaded.http_host, loaded.http_port)
    with _cassandra(loaded, nodes) as own:
        logs.configure("WARNING", own.log_format)
        _prepare(own)
        threading.Thread(target=_announce, args=(own,), daemon=True).start()
        server.serve(own)


@contextmanager
def _cassandra(loaded: Settings, nodes: int) -> Iterator[Settings]:
    """Bring the nodes up and return the settings to use them; end them when the store ends, however it does."""
    if os.environ.get("CASSANDRA_HOSTS"):
        yield loaded
        return
    cluster = _cluster(nodes)
    jars.bring(_home() / "jars", console=console)  # before the spinner, for it has a bar of its own
    with _telling("Cassandra") as tell:
        cluster.up(tell)
    try:
        yield replace(
            loaded,
            cassandra_hosts=tuple(cluster.addresses),
            cassandra_port=9042,
            cassandra_datacenter=DATA_CENTER,
            cassandra_replication_factor=min(nodes, MOST_REPLICAS),
            # What `.env` says of another Cassandra does not hold for this one, which asks for neither.
            cassandra_tls=False,
            cassandra_tls_ca="",
            cassandra_tls_cert="",
            cassandra_tls_key="",
            cassandra_username="",
            cassandra_password="",
        )
    finally:
        with _telling("Stopping Cassandra"):
            cluster.down()


@contextmanager
def _telling(what: str) -> Iterator[Callable[[str], None]]:
    """Say what is going on: on a terminal in one line that moves, elsewhere in a line for each step."""
    if not console.is_terminal:
        console.print(what)
        yield console.print
        return
    with console.status(what) as status:
        yield status.update


def _cluster(nodes: int) -> Cluster:
    return Cluster(_home(), nodes, name=f"store-{nodes}", owned=True)


def _home() -> Path:
    return Path(os.environ.get("LAB_HOME") or ".lab")


def _prepare(own: Settings) -> None:
    """Bring the schema in line with the Models; on the first start, load the sample."""
    database = connections.connect(own)
    try:
        with _telling("Schema") as tell:
            synced = sync(database, own, tell=lambda news: tell(f"Schema: {say(news)}"))
        if synced.was_empty:
            connections.prepare_all(dao.REHEARSALS)
            with _telling("Sample") as tell:
                for line in samples.load(own.store_currency):
                    tell(f"Sample: {line}")
    finally:
        database.close()


def _announce(own: Settings) -> None:
    """Say where Swagger is as soon as the store answers."""
    end_s = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < end_s:
        if readiness.is_ready(own, POLL_S * 5):
            console.print(f"The store is open: Swagger at [bold]{own.http_url}/[/bold]   (Ctrl-C stops it)")
            return
        time.sleep(POLL_S)


@click.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
def reset(*, yes: bool) -> None:
    """Remove all data of `store-manager run`; the Cassandra that was brought stays."""
    clusters = [cluster for cluster in map(_cluster, range(1, MOST_NODES + 1)) if cluster.directory.is_dir()]
    if not clusters:
        click.echo("There are no data to remove.")
        return
    if not yes:
        click.confirm(f"Remove all data in {', '.join(str(cluster.directory) for cluster in clusters)}?", abort=True)
    for cluster in clusters:
        cluster.destroy()
        click.echo(f"Removed {cluster.directory}.")
