"""`store-manager cluster`: how every node of any cluster is, and its upkeep.

Thin: what the verbs do stands in `store_manager.cluster`.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

from store_manager import logs, settings
from store_manager.cluster import counters, management, repairs, replication, statuses
from store_manager.cluster.management import Endpoint
from store_manager.dao import repairs as records
from store_manager.database import connections
from store_manager.services import clocks
from store_manager.services.repairs import FULL, PAXOS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.progress import TaskID

    from store_manager.cluster.management import Management
    from store_manager.cluster.statuses import ClusterStatus, NodeStatus
    from store_manager.database.connections import Database
    from store_manager.settings import Settings

out = Console(highlight=False, soft_wrap=True)
progress = Console(stderr=True, highlight=False, soft_wrap=True)

REPAIR_NOW = (
    "Now run `store-manager cluster repair`, or where there is no Java, as in the service's image, "
    "`nodetool repair -full -pr KEYSPACE` for each of them on each node: the new copies are empty until then"
)

as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead, for machines.")


@click.group()
def cluster() -> None:
    """Show how every node of the cluster is, and keep it in order.

    Which cluster, the settings CASSANDRA_… say (see `store-manager settings`). `repair`, `healing`, `handoff`,
    `cleanup` and `snapshot` speak to the nodes' management interface (JMX, the settings CASSANDRA_JMX_…), by Java.
    """


@cluster.command()
@as_json
def status(*, as_json: bool) -> None:
    """Show how each node is: state, part of the ring, load, hints for it, Paxos state, schema; by CQL only."""
    with _connected() as (database, own):
        found = statuses.ask(database)
        warnings = found.warnings
        if len(found.nodes) > 1:  # with a single node there is nobody to hold another copy
            warnings += replication.warnings(database, own.cassandra_keyspace)
    if as_json:
        nodes = [asdict(node) | {"tokens": list(map(str, node.tokens))} for node in found.nodes]
        click.echo(json.dumps({"nodes": nodes, "warnings": warnings}, indent=2))
        return
    out.print(_table(found))
    for warning in warnings:
        out.print(warning, markup=False)


@cluster.command()
@click.option("--paxos", is_flag=True, help="Only the state of conditional writes: quick, meant for every hour.")
@as_json
def repair(*, paxos: bool, as_json: bool) -> None:
    """Let each node in turn repair its ranges, and note that it was done; a full repair includes that of Paxos.

    For a scheduler, well inside gc_grace_seconds. It covers the store's keyspace and those of Cassandra that are spread
    over the nodes. Every node has to be up.
    """
    kinds = (PAXOS,) if paxos else (FULL, PAXOS)
    options = repairs.PAXOS if paxos else repairs.FULL
    with _connected() as (database, own), _managed(database, own) as nodes:
        for kind in kinds:
            records.find_repair(kind)  # if there is no table to note it in, it is better known now
        started_at = clocks.now()
        with _bar("Paxos repair" if paxos else "Full repair") as move:
            for step in repairs.repair(nodes, (own.cassandra_keyspace, *replication.SYSTEM_KEYSPACES), options):
                move(step)
        finished_at = clocks.now()
        for kind in kinds:
            records.note_repair(kind, started_at=started_at, finished_at=finished_at, nodes=len(nodes))
    duration_s = round((finished_at - started_at).total_seconds(), 3)
    if as_json:
        document = {"kinds": kinds, "nodes": [node.address for node, _ in nodes], "duration_s": duration_s}
        click.echo(json.dumps(document, indent=2))
    else:
        out.print(f"{' and '.join(kinds)}: {len(nodes)} nodes repaired in {duration_s:.1f} s")


@cluster.command("note-repair")
@click.option("--began", required=True, type=click.DateTime(["%Y-%m-%dT%H:%M:%S%z"]), help="2026-11-22T03:00:00Z")
@click.option("--paxos", is_flag=True, help="It was only the state of conditional writes.")
def note_repair(*, began: datetime, paxos: bool) -> None:
    """Note a repair of every range that was done by other means, such as nodetool on each node."""
    started_at = began.astimezone(UTC).replace(tzinfo=None)
    if started_at > clocks.now():
        raise click.BadParameter("it lies in the future", param_hint="--began")
    with _connected() as (database, _own):
        nodes = len(database.health().nodes)
        for kind in (PAXOS,) if paxos else (FULL, PAXOS):
            records.note_repair(kind, started_at=started_at, finished_at=clocks.now(), nodes=nodes)


@cluster.command()
@as_json
def healing(*, as_json: bool) -> None:
    """Show what each node that answers has counted since its start: hints stored and replayed, rows mended by reads."""
    with _connected() as (database, own), _managed(database, own, everyone=False) as nodes:
        found = {node.address: counters.read(one) for node, one in nodes}
    if as_json:
        click.echo(json.dumps({address: asdict(one) for address, one in found.items()}, indent=2))
        return
    table = Table("address", "hints stored", "replayed", "failed", "read repairs", box=None, pad_edge=False)
    for address, one in found.items():
        numbers = (one.hints_stored, one.hints_replayed, one.hints_failed, one.read_repairs)
        table.add_row(address, *map("{:,}".format, numbers))
    out.print(table)


@cluster.command()
@click.argument("wanted", metavar="on|off", type=click.Choice(["on", "off"]))
def handoff(wanted: str) -> None:
    """Let the nodes that answer keep hints for one that is away, or not; each forgets this when it restarts.

    Without hints only a read or a repair brings a node what it has missed.
    """
    with _connected() as (database, own), _managed(database, own, everyone=False) as nodes:
        for node, one in nodes:
            one.keep_hints(wanted=wanted == "on")
            out.print(f"{node.address}: hinted handoff {wanted}")


@cluster.command()
def cleanup() -> None:
    """Let each node remove what it does not own any more: after a node has joined."""
    patience_s = management.PATIENT_TIMEOUT_S
    with _connected() as (database, own), _managed(database, own, timeout_s=patience_s) as nodes:
        for node, one in nodes:
            for keyspace in (own.cassandra_keyspace, *replication.SYSTEM_KEYSPACES):
                one.clean_up(keyspace)
            out.print(f"{node.address}: cleaned up")


@cluster.command()
@click.argument("name")
def snapshot(name: str) -> None:
    """Keep the store's tables as they are now, under this name, on every node; see docs/how-to/restore.md."""
    with _connected() as (database, own), _managed(database, own) as nodes:
        for node, one in nodes:
            one.take_snapshot(name, [own.cassandra_keyspace])
            out.print(f"{node.address}: snapshot {name} of {own.cassandra_keyspace}")


@cluster.command("replicate-system")
@click.option("--dry-run", is_flag=True, help="Print the CQL; change nothing.")
def replicate_system(*, dry_run: bool) -> None:
    """Give Cassandra's own keyspaces (system_auth, system_traces ...) the replication of the store's.

    Run `cluster repair` right afterwards, or `nodetool repair -full -pr KEYSPACE` for each of them on each node: the
    new copies are empty until then.
    """
    with _connected() as (database, own):
        changes = replication.plan(database, own.cassandra_keyspace)
        if dry_run:
            for change in changes:
                out.print(f"{change.cql};", markup=False)
            return
        replication.apply(database, changes, tell=_tell_change)
    if changes:
        out.print(REPAIR_NOW, markup=False)
    else:
        out.print(f"They have the replication of {own.cassandra_keyspace}: nothing to do", markup=False)


def _tell_change(change: replication.Change) -> None:
    progress.print(f"  {change.keyspace}: {change.why}", markup=False)


@contextmanager
def _connected() -> Iterator[tuple[Database, Settings]]:
    # What the driver has to say about a node that is away, the table says once, for people.
    logs.configure("CRITICAL", "console")
    own = settings.load()
    database = connections.connect(own)
    try:
        yield database, own
    finally:
        database.close()


@contextmanager
def _managed(
    database: Database, own: Settings, *, everyone: bool = True, timeout_s: int = management.ANSWER_TIMEOUT_S
) -> Iterator[Sequence[tuple[NodeStatus, Management]]]:
    """Yield every node of the ring with its management, or those that can be reached."""
    found = statuses.ask(database)
    endpoints = [Endpoint.parse(host) for host in own.cassandra_jmx_hosts]
    endpoints = endpoints or [Endpoint(node.address) for node in found.nodes]
    user, password = own.cassandra_jmx_username, own.cassandra_jmx_password
    with management.connect(endpoints, user, password, everyone=everyone, timeout_s=timeout_s) as managed:
        yield repairs.pair(found, managed) if everyone else repairs.pair_some(found, managed)


@contextmanager
def _bar(title: str) -> Iterator[partial[None]]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[at]}"),
    )
    with Progress(*columns, console=progress, transient=True) as shown:
        task = shown.add_task(title, total=1.0, at="")
        yield partial(_move, shown, task)


def _move(shown: Progress, task: TaskID, step: repairs.Progress) -> None:
    shown.update(task, completed=step.reached, at=f"{step.address} {step.keyspace}")


def _table(found: ClusterStatus) -> Table:
    def right(name: str) -> Column:
        return Column(name, justify="right")

    columns = ("", "address", "rack", right("tokens"), right("share"), right("load"), right("hints"), right("paxos"))
    table = Table(*columns, "schema", box=None, pad_edge=False)
    for node in found.nodes:
        table.add_row(
            node.state,
            node.address,
            f"{node.datacenter}/{node.rack}",
            str(len(node.tokens)),
            f"{node.share:.1%}",
            "-" if node.load_bytes is None else f"{node.load_bytes / 2**20:,.1f} MiB",
            str(node.hints_for_it),
            "-" if node.paxos_mib is None else f"{node.paxos_mib:,} MiB",
            (node.schema_version or "-")[:8],
        )
    return table
