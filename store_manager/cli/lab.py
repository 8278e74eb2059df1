"""`store-manager lab`: a real Cassandra of one node or several on this machine, to work with and to break.

Thin: what the verbs do stands in `store_manager.lab`.
"""

from __future__ import annotations

import dataclasses
import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Column, Table

from store_manager.lab import clusters, cuts, groups
from store_manager.lab.clusters import Cluster
from store_manager.lab.faults import AlreadyRunning, LabError

if TYPE_CHECKING:
    from store_manager.lab.clusters import NodeStatus

console = Console(stderr=True, highlight=False, soft_wrap=True)


@dataclasses.dataclass(frozen=True)
class _Place:
    home: Path
    name: str

    def load(self) -> Cluster:
        return Cluster.load(self.home, self.name)


@click.group()
@click.option(
    "--home",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="LAB_HOME",
    default=Path(".lab"),
    show_default=True,
    show_envvar=True,
    help="The one directory that holds the lab: removing it removes the lab.",
)
@click.option("--name", default=clusters.NAME, show_default=True, help="Which of the clusters in this home.")
@click.pass_context
def lab(ctx: click.Context, home: Path, name: str) -> None:
    """Run a real Cassandra cluster on this machine, without Docker."""
    ctx.obj = _Place(home, name)


@lab.command()
@click.option("--nodes", type=click.IntRange(1, 9), default=3, show_default=True, help="How many nodes.")
@click.option("--network", default=clusters.NETWORK, show_default=True, help="The nodes get its addresses .1, .2 ...")
@click.option("--heap-mb", type=click.IntRange(128), default=clusters.HEAP_MB, show_default=True, help="For each node.")
@click.pass_obj
def up(place: _Place, nodes: int, network: str, heap_mb: int) -> None:
    """Start the nodes, wait until they are one cluster, and leave them running."""
    _end_with_what_starts()
    cluster = Cluster(place.home, nodes, name=place.name, network=network, heap_mb=heap_mb)
    try:
        cluster.up(console.print)
    except AlreadyRunning as error:
        console.print(error.message)
    _print_settings(cluster)


@lab.command()
@click.pass_obj
def join(place: _Place) -> None:
    """Let one more node join the running ones: it takes half of the widest range of the ring, with its data."""
    _end_with_what_starts()
    cluster = place.load()
    cluster.join(console.print)
    _print_settings(cluster)


@lab.command()
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@click.pass_obj
def status(place: _Place, *, as_json: bool) -> None:
    """Show each node: process, gossip, schema, part of the ring, reads and writes as a replica since its start."""
    cluster = place.load()
    found = cluster.status()
    if sides := cluster.cut_sides:
        console.print(f"The cluster is cut in two: {sides}")
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(node) for node in found]))
    else:
        Console(highlight=False).print(_table(found))


@lab.command()
@click.argument("number", type=int)
@click.pass_obj
def stop(place: _Place, number: int) -> None:
    """End a node gracefully."""
    place.load().stop(number)


@lab.command()
@click.argument("number", type=int)
@click.pass_obj
def start(place: _Place, number: int) -> None:
    """Start a stopped node, and wait until the others see it."""
    place.load().start(number, console.print)


@lab.command()
@click.argument("number", type=int)
@click.pass_obj
def kill(place: _Place, number: int) -> None:
    """End a node as a power cut would (SIGKILL)."""
    place.load().kill(number)


@lab.command()
@click.argument("number", type=int)
@click.pass_obj
def freeze(place: _Place, number: int) -> None:
    """Halt a node so that it hangs (SIGSTOP); to the others that is worse than a dead one."""
    place.load().freeze(number)


@lab.command()
@click.argument("number", type=int)
@click.pass_obj
def thaw(place: _Place, number: int) -> None:
    """Let a frozen node run on."""
    place.load().thaw(number)


@lab.command()
@click.argument("sides")
@click.pass_obj
def cut(place: _Place, sides: str) -> None:
    """Cut the network between two sides of the nodes: 3 against all others, or 1,2/3. Only root can.

    Callers still reach every node, except those that `lab beside` started.
    """
    cluster = place.load()
    cluster.cut(sides)
    console.print(f"The cluster is cut in two: {cluster.cut_sides}")


@lab.command()
@click.pass_obj
def heal(place: _Place) -> None:
    """End a cut, and wait until all nodes that run see each other again."""
    if not place.load().heal(console.print):
        console.print("The cluster is not cut.")


@lab.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("number", type=int)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_obj
def beside(place: _Place, number: int, command: tuple[str, ...]) -> None:
    """Run a command as if on the machine of a node: a cut keeps it from the nodes of the other side as well."""
    node = place.load().node(number)
    if lack := cuts.lacks():
        raise LabError(f"A command can't be put beside a node here: {lack}.")
    try:
        groups.enter(node.group, list(command))
    except OSError as error:
        raise LabError(f"{command[0]} can't be run: {error.strerror}.") from error


@lab.command()
@click.option("--remove", is_flag=True, help="Remove the cluster's data as well; the jars stay.")
@click.pass_obj
def down(place: _Place, *, remove: bool) -> None:
    """End every node."""
    cluster = place.load()
    cluster.down()
    if remove:
        cluster.destroy()


@lab.command("settings")
@click.pass_obj
def print_settings(place: _Place) -> None:
    """Print the settings that reach the nodes, for a shell: `eval "$(store-manager lab settings)"`."""
    for setting in _settings_of(place.load()):
        click.echo(f"export {setting}")


def _print_settings(cluster: Cluster) -> None:
    for setting in _settings_of(cluster):
        console.print(setting)


def _settings_of(cluster: Cluster) -> tuple[str, str]:
    return (
        f"CASSANDRA_HOSTS={','.join(cluster.addresses)}",
        f"CASSANDRA_JMX_HOSTS={','.join(cluster.management_hosts)}",
    )


def _end_with_what_starts() -> None:
    """Without this, a plain kill would leave the nodes that are starting behind."""
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, lambda number, _frame: sys.exit(128 + number))


def _table(found: list[NodeStatus]) -> Table:
    # Eighty columns hold a whole token; the rest, such as process ids, is in the JSON.
    token = Column("token", no_wrap=True, min_width=20)
    work = Column("reads/writes", justify="right")
    table = Table("node", "address", "process", "gossip", "owns", token, "schema", work, box=None, pad_edge=False)
    for node in found:
        owns = f"{node.owns:.1%}" if node.owns is not None else "-"
        tokens = "\n".join(str(token) for token in node.tokens) or "-"
        schema = (node.schema_version or "-")[:4]
        done = "-" if node.reads is None or node.writes is None else f"{node.reads}/{node.writes}"
        table.add_row(str(node.number), node.address, node.process, node.gossip, owns, tokens, schema, done)
    return table
