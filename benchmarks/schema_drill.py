"""Whether a schema may be changed by many at once, among faults and under load: on three nodes, with what is deployed.

- crowd: twenty processes sync at one moment against an empty cluster: one works, the others find nothing to do, and
  every table has one id on every node;
- killed, frozen: the same, and the holder of the lock is killed, or frozen for longer than its lease, in the middle;
- nodes: a sync with a node that is down, with one that is frozen, with nodes that do not agree;
- rollout: version N of the service and N+1 side by side, during a sync and a back-fill under load.

    python -m benchmarks.schema_drill                          everything, some twenty minutes
    python -m benchmarks.schema_drill crowd --times 10
    python -m benchmarks.schema_drill --short                  a frozen holder and a rollout, small, for CI

It ends with status 1 at the first promise that is not kept.
"""

from __future__ import annotations

import argparse
import shutil
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from rich.console import Console
from rich.table import Table

from benchmarks import rollouts, stages
from benchmarks.sync_crowds import DrillError, Witness, crowd, freeze, kill, thaw, wait_for
from store_manager import logs
from store_manager.database.connections import open_database
from store_manager.errors import StoreError
from store_manager.lab.clusters import Cluster
from store_manager.schema.runs import Terms, say
from store_manager.schema.syncs import sync
from store_manager.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.sync_crowds import Comer
    from store_manager.schema.runs import News

NETWORK, NODES, HEAP_MB = "127.0.7", 3, 384
RUN = stages.LAB / "schema-drill"
LEASE_S = 10.0
STEPS_BEFORE_A_FAULT = 3
BACK_S = 120.0
POLL_S = 0.2

console = Console(highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class Size:
    """How much of each is done."""

    comers: int
    times: int
    rows: int
    calm_s: float


FULL = Size(comers=20, times=10, rows=200_000, calm_s=10.0)
SHORT = Size(comers=4, times=1, rows=400, calm_s=1.0)

Row = dict[str, Any]


@contextmanager
def drill_cluster() -> Iterator[Cluster]:
    """Three nodes without a past, of which nothing is left."""
    made = Cluster(stages.LAB, NODES, name="schema-drill-nodes", network=NETWORK, heap_mb=HEAP_MB, owned=True)
    made.destroy()
    made.up()
    try:
        yield made
    finally:
        made.down()
        made.destroy()


def settings_of(cluster: Cluster) -> Settings:
    """Return settings for a keyspace that never was."""
    return replace(
        Settings(),
        cassandra_hosts=tuple(cluster.addresses),
        cassandra_keyspace=f"drill_{uuid4().hex[:10]}",
        schema_lease_s=LEASE_S,
    )


@contextmanager
def witness(settings: Settings) -> Iterator[Witness]:
    """Somebody who looks on."""
    one = Witness(settings)
    try:
        yield one
    finally:
        one.close()


def drill_crowd(cluster: Cluster, size: Size) -> Iterator[Row]:
    """Let many sync at once."""
    for turn in range(size.times):
        settings, began_s = settings_of(cluster), time.monotonic()
        with crowd(settings, size.comers, RUN / f"crowd-{turn}") as comers:
            wait_for(comers)
        with witness(settings) as looking:
            yield _judge("crowd", looking, comers, began_s)


def drill_killed(cluster: Cluster, size: Size) -> Iterator[Row]:
    """Kill the holder of the lock in the middle."""
    yield from _drill_holder(cluster, size, "killed", kill)


def drill_frozen(cluster: Cluster, size: Size) -> Iterator[Row]:
    """Freeze the holder of the lock beyond its lease, and let it run on when another one has ended its work."""
    yield from _drill_holder(cluster, size, "frozen", freeze)


def _drill_holder(cluster: Cluster, size: Size, name: str, harm: Callable[[Comer], None]) -> Iterator[Row]:
    for turn in range(size.times):
        settings, began_s = settings_of(cluster), time.monotonic()
        with crowd(settings, size.comers, RUN / f"{name}-{turn}") as comers, witness(settings) as looking:
            looking.wait_for_steps(STEPS_BEFORE_A_FAULT)
            holder = looking.find_holder(comers)
            harm(holder)
            others = [comer for comer in comers if comer is not holder]
            wait_for(others)
            looking.require_whole()
            if not holder.killed:
                thaw(holder)
            wait_for([holder])
            if not (holder.killed or holder.was_stopped):
                raise DrillError(f"What was frozen went on ({holder.process.exitcode}): {holder.error}")
            yield _judge(name, looking, others, began_s)


def _judge(name: str, looking: Witness, comers: list[Comer], began_s: float) -> Row:
    failed = [comer.error for comer in comers if comer.process.exitcode != 0]
    if failed:
        raise DrillError(f"{len(failed)} of {len(comers)} failed: {failed[0]}")
    worked = [comer for comer in comers if comer.worked]
    if len(worked) != 1:
        raise DrillError(f"{len(worked)} of {len(comers)} found something to do, not one")
    looking.require_whole()
    twice = [what for what, times in looking.count_steps().items() if times > 1]
    if twice:
        raise DrillError(f"These steps were taken twice: {', '.join(twice)}")
    return {
        "drill": name,
        "processes": len(comers) + (name != "crowd"),
        "worked": len(worked),
        "waited": len(comers) - len(worked),
        "steps": len(worked[0].told["steps"]),
        "tables": len(looking.find_ids()),
        "ids_a_table": 1,
        "duration_s": round(time.monotonic() - began_s, 1),
    }


def drill_nodes(cluster: Cluster, _size: Size) -> Iterator[Row]:
    """Sync with a node down, with one frozen, and with nodes that do not agree."""
    yield _without_a_node(cluster, "down", cluster.kill, cluster.start)
    yield _without_a_node(cluster, "frozen", cluster.freeze, cluster.thaw)
    yield _with_disagreement(cluster)


def _without_a_node(cluster: Cluster, name: str, away: Callable[[int], None], back: Callable[[int], None]) -> Row:
    settings, last = settings_of(cluster), cluster.nodes[-1]
    left_out = settings_of(cluster)
    away(last.number)
    try:
        refused = _attempt(settings)
        if last.address not in refused:
            raise DrillError(f"A sync with a node {name} did not say so: {refused or 'it worked'}")
        with witness(settings) as looking:
            if looking.find_ids():
                raise DrillError(f"A sync with a node {name} was half done: {looking.find_ids()}")
        failed = _attempt(left_out, without=(last.address,))
        if failed:
            raise DrillError(f"A sync without a node that was {name} failed: {failed}")
    finally:
        back(last.number)
    took_s = _sync_until_it_works(settings)
    for one in (settings, left_out):
        with witness(one) as looking:
            _wait_until_whole(looking)
    return {"drill": f"node {name}", "said": refused, "without_it": "worked", "once_it_was_back_s": took_s}


def _with_disagreement(cluster: Cluster) -> Row:
    settings, address = settings_of(cluster), cluster.nodes[-1].address
    with witness(settings) as looking:
        host = next(one for one in looking.database.cluster.metadata.all_hosts() if one.address == address)
        looking.database.raw.execute(
            f"UPDATE system.local SET schema_version = {uuid4()} WHERE key = 'local'",  # noqa: S608
            host=host,
        )
        refused = _attempt(settings)
        if "do not agree" not in refused or looking.find_ids():
            raise DrillError(f"A sync among nodes that do not agree went on: {refused} {looking.find_ids()}")
        # Any change of the schema makes a node tell its own anew.
        looking.database.raw.execute(
            f"CREATE KEYSPACE {settings.cassandra_keyspace}_aside WITH replication = "
            "{'class': 'NetworkTopologyStrategy', 'dc1': 3}"
        )
        took_s = _sync_until_it_works(settings)
        _wait_until_whole(looking)
    return {"drill": "disagreement", "said": refused, "once_it_was_back_s": took_s}


def _attempt(settings: Settings, without: tuple[str, ...] = ()) -> str:
    """Sync in this process, and return what it said if it failed."""
    database = open_database(settings)
    try:
        sync(database, settings, terms=Terms(without=without), tell=_tell)
    except StoreError as error:
        return error.message
    finally:
        database.close()
    return ""


def _tell(news: News) -> None:
    console.print(f"    {say(news)}", markup=False)


def _sync_until_it_works(settings: Settings) -> float:
    began_s = time.monotonic()
    while failed := _attempt(settings):
        if time.monotonic() > began_s + BACK_S:
            raise DrillError(f"The sync does not work although every node is back: {failed}")
        time.sleep(POLL_S)
    return round(time.monotonic() - began_s, 1)


def _wait_until_whole(looking: Witness) -> None:
    end_s = time.monotonic() + BACK_S
    while time.monotonic() < end_s:
        with suppress(StoreError):
            return looking.require_whole()
        time.sleep(POLL_S)
    return looking.require_whole()


def drill_rollout(cluster: Cluster, size: Size) -> Iterator[Row]:
    """Deploy version N+1 beside N under load."""
    yield rollouts.roll_out(
        replace(settings_of(cluster), schema_lease_s=30.0),
        RUN,
        rows=size.rows,
        calm_s=size.calm_s,
        tell=lambda line: console.print(f"    {line}", markup=False),
    )


DRILLS: dict[str, Callable[[Cluster, Size], Iterator[Row]]] = {
    "crowd": drill_crowd,
    "killed": drill_killed,
    "frozen": drill_frozen,
    "nodes": drill_nodes,
    "rollout": drill_rollout,
}


IN_SHORT = ("frozen", "rollout")
"""What `--short` does: the rest stands in small among the tests."""


def main() -> None:
    """Run the drills that were asked for, and print what was seen."""
    logs.configure("CRITICAL", "console")
    asked = _parse_arguments()
    size = SHORT if asked.short else FULL
    size = replace(size, **{name: value for name in ("comers", "times", "rows") if (value := getattr(asked, name))})
    console.print(stages.describe(), markup=False)
    shutil.rmtree(RUN, ignore_errors=True)
    rows: list[Row] = []
    try:
        with drill_cluster() as cluster:
            for name in asked.drills or (IN_SHORT if asked.short else DRILLS):
                console.print(name)
                for row in DRILLS[name](cluster, size):
                    rows.append(row)
                    console.print(f"  {_say(row)}", markup=False)
    finally:  # what was seen before a promise was broken was seen
        if asked.json:
            stages.write_json(asked.json, rows)
    _print(rows)
    shutil.rmtree(RUN, ignore_errors=True)


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("drills", nargs="*", choices=[*DRILLS, []], help="which; all by default")
    parser.add_argument("--short", action="store_true", help="a frozen holder and a rollout, small")
    parser.add_argument("--times", type=int, help="how many times crowd, killed and frozen are done")
    parser.add_argument("--comers", type=int, help="how many processes come at once")
    parser.add_argument("--rows", type=int, help="how many rows are back-filled")
    parser.add_argument("--json", metavar="FILE", help="keep every figure")
    return parser.parse_args()


def _say(row: Row) -> str:
    return ", ".join(f"{name} {value}" for name, value in row.items() if name != "drill")


def _print(rows: list[Row]) -> None:
    table = Table("drill", "what was seen", box=None, pad_edge=False)
    for row in rows:
        table.add_row(str(row["drill"]), _say(row))
    console.print(table)


if __name__ == "__main__":
    main()
