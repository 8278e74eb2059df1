"""What callers notice while a node dies, hangs, comes back, joins or is cut off, under a constant load.

Reads and orders come over HTTP at half of what the machine can do, which is measured first, sent when they are due
(`benchmarks.loads`). For each fault: requests, failures, unknown outcomes, the times before, during and after. Beside
the store stands the same API on the driver's defaults and plain cqlengine (`benchmarks.plain`), under the same faults.

    python -m benchmarks.failover --short                                   two faults, in a minute and a half
    python -m benchmarks.failover --faults kill restart freeze --json FILE  rows are added to those of the file
    python -m benchmarks.failover --faults all                              every fault; a cut only where it can be made
    python -m benchmarks.failover --show FILE                               print them (--markdown: for documents)

A node that starts is given the processor time that the others leave, until its row is measured: in earnest it would
have a machine of its own, and on two cores a Java runtime that starts stalls anything. The fault `control` shows it:
a node of another cluster starts.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from benchmarks import loads, stages
from benchmarks.clients import HttpServer
from benchmarks.faults import MAIN, SERVE, ChaosError, Service, environment
from store_manager.errors import StoreError
from store_manager.lab import cuts
from store_manager.lab.clusters import Cluster
from store_manager.lab.nodes import CQL_PORT

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from benchmarks.loads import Customers, Load, Sample
    from store_manager.settings import Settings

NETWORK, OTHER_NETWORK, NODES, HEAP_MB = "127.0.7", "127.0.17", 3, 384
HOST, PORT = "127.0.0.1", 5071
RUN = stages.LAB / "failover-run"

STORE, PLAIN = "store", "plain"
COMMANDS = {STORE: SERVE, PLAIN: ("from benchmarks.plain import main; main()",)}

WARM_UP_S, CAPACITY_S = 6.0, 5.0
PART_OF_CAPACITY = 0.5
CALM_S = 8.0
"""How long the load is watched before a fault and after it."""

DEAD_S, FROZEN_S, CUT_S, TWO_DEAD_S = 15.0, 60.0, 30.0, 25.0
SHORT_CALM_S, SHORT_AWAY_S = 4.0, 8.0

WORST_MS = 1000.0
RECOVERY_S = 5.0
UP_TIMEOUT_S = 180.0
POLL_S = 0.2
PHASES = ("before", "during", "after")

console = Console(highlight=False, soft_wrap=True)


@dataclass
class Stage:
    """The cluster, its customers, and for how long a fault of this run lasts."""

    cluster: Cluster
    customers: Customers
    settings: Settings
    rate: float
    calm_s: float
    dead_s: float
    frozen_s: float
    returned_s: float | None = None


@contextmanager
def small_share() -> Iterator[None]:
    """Give what this thread starts only the processor time that nobody else wants."""
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def full_share(pid: int) -> None:
    """Give every thread of a process its usual share again."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with suppress(ProcessLookupError):
            os.sched_setscheduler(int(thread.name), os.SCHED_OTHER, os.sched_param(0))


def _start(stage: Stage, number: int) -> None:
    with small_share():
        stage.cluster.start(number)


def _wait_until_up(stage: Stage) -> None:
    end_s = time.monotonic() + UP_TIMEOUT_S
    while any((node.process, node.gossip) != ("running", "UN") for node in stage.cluster.status()):
        if time.monotonic() > end_s:
            raise ChaosError("the nodes do not see each other any more")
        time.sleep(POLL_S)


def _kill(stage: Stage) -> None:
    stage.cluster.kill(2)
    time.sleep(stage.dead_s)


def _freeze(stage: Stage) -> None:
    stage.cluster.freeze(3)
    try:
        time.sleep(stage.frozen_s)
    finally:
        stage.cluster.thaw(3)
    _wait_until_up(stage)


def _restart(stage: Stage) -> None:
    _start(stage, 2)


def _restart_in_turn(stage: Stage) -> None:
    for number in range(1, NODES + 1):
        stage.cluster.stop(number)
        _start(stage, number)
        _wait_until_ready(stage)


def _wait_until_ready(stage: Stage) -> None:
    """Wait, as whoever restarts nodes in turn should, until the service too sees every node again."""
    end_s = time.monotonic() + UP_TIMEOUT_S
    while (ready := stage.customers.server.send("GET", "/readyz", None, {})).body.get("status") != "ready":
        if time.monotonic() > end_s:
            raise ChaosError(f"the service is not ready: {ready.body}")
        time.sleep(POLL_S)


def _cut(stage: Stage) -> None:
    stage.cluster.cut("1,2/3")
    time.sleep(CUT_S)
    stage.cluster.heal()


def _join(stage: Stage) -> None:
    with small_share():
        stage.cluster.join()


def _control(_: Stage) -> None:
    """Start a node of another cluster, which has nothing to do with the store."""
    other = Cluster(stages.LAB, 1, name="failover-other", network=OTHER_NETWORK, heap_mb=HEAP_MB, owned=True)
    other.destroy()
    try:
        with small_share():
            other.up()
    finally:
        other.down()
        other.destroy()


def _two(stage: Stage) -> None:
    """Kill two of three, and bring one back; note when it answers."""
    stage.cluster.kill(2)
    stage.cluster.kill(3)
    time.sleep(TWO_DEAD_S)
    watcher = threading.Thread(target=_note_return, args=(stage, stage.cluster.node(2).address))
    watcher.start()
    _start(stage, 2)
    watcher.join()


def _note_return(stage: Stage, address: str) -> None:
    end_s = time.monotonic() + UP_TIMEOUT_S
    while stage.returned_s is None and time.monotonic() < end_s:
        with suppress(OSError), socket.create_connection((address, CQL_PORT), POLL_S):
            stage.returned_s = time.monotonic()
        time.sleep(POLL_S)


FAULTS: dict[str, Callable[[Stage], None]] = {
    "kill": _kill,
    "restart": _restart,
    "freeze": _freeze,
    "in turn": _restart_in_turn,
    "cut": _cut,
    "two": _two,
    "control": _control,
    "join": _join,
}
"""In the order in which they are possible: a restart follows a kill; a join, which leaves four nodes, all others."""

ALL = "all"
NEVER_FAILING = frozenset(FAULTS) - {"two"}


@contextmanager
def set_up(side: str, *, rate: float | None, short: bool) -> Iterator[Stage]:
    """Bring up three nodes, a server and its shop, without a past, and leave nothing running."""
    RUN.mkdir(parents=True, exist_ok=True)
    cluster = Cluster(stages.LAB, NODES, name="failover", network=NETWORK, heap_mb=HEAP_MB, owned=True)
    cluster.destroy()
    with ExitStack() as stack:
        with console.status("Cassandra") as status:
            cluster.up(status.update)
        stack.callback(cluster.destroy)
        stack.callback(cluster.down)
        settings = replace(stages.prepare(cluster), http_host=HOST, http_port=PORT, log_level="WARNING")
        service = Service(1, settings, RUN, COMMANDS[side])
        stack.callback(service.kill)
        service.start()
        server = HttpServer(HOST, PORT, timeout_s=loads.CLIENT_TIMEOUT_S, connections=loads.THREADS)
        customers = loads.Customers(server, loads.open_shop(server), side)
        loads.measure_capacity(customers, WARM_UP_S)
        half = rate or PART_OF_CAPACITY * loads.measure_capacity(customers, CAPACITY_S)
        lasting_s = (SHORT_CALM_S, SHORT_AWAY_S, SHORT_AWAY_S) if short else (CALM_S, DEAD_S, FROZEN_S)
        yield Stage(cluster, customers, settings, half, *lasting_s)


def measure(stage: Stage, side: str, fault: str) -> list[dict[str, Any]]:
    """Do one thing to the cluster under load; return a row for each kind of request and each phase."""
    stage.returned_s = None
    load = loads.Load(stage.customers, stage.rate)
    load.start()
    try:
        time.sleep(stage.calm_s)
        began_s = time.monotonic()
        FAULTS[fault](stage)
        ended_s = time.monotonic()
        time.sleep(stage.calm_s)
    finally:
        load.stop()
    _tell_refusals(load, began_s)
    phases: dict[str, Callable[[float], bool]] = {
        "before": lambda due_s: due_s < began_s,
        "during": lambda due_s: began_s <= due_s < ended_s,
        "after": lambda due_s: due_s >= ended_s,
    }
    recovery_s = _recovery_s(load.samples, stage.returned_s)
    return [
        {
            "side": side,
            "fault": fault,
            "kind": kind,
            "phase": phase,
            "rate": round(stage.rate, 1),
            "fault_s": round(ended_s - began_s, 1),
            "recovery_s": recovery_s,
            **asdict(loads.sum_up(load.samples, kind, phases[phase])),
        }
        for kind in (loads.READ, loads.ORDER)
        for phase in PHASES
    ]


def _tell_refusals(load: Load, began_s: float) -> None:
    codes = Counter((one.kind, one.code) for one in load.samples if one.code)
    worst = max(load.samples, key=lambda one: one.took_s)
    console.print(
        f"    longest: {worst.kind} due {worst.due_s - began_s:.2f} s after the fault began; refused:",
        ", ".join(f"{number} {kind} {code}" for (kind, code), number in codes.most_common()) or "none",
        markup=False,
    )


def _recovery_s(samples: list[Sample], returned_s: float | None) -> float | None:
    """Return how long after a node's return the first order was due from which on every order succeeded."""
    if returned_s is None:
        return None
    orders = sorted((one for one in samples if one.kind == loads.ORDER), key=lambda one: one.due_s)
    failed = [one.due_s for one in orders if one.code]
    since = [one.due_s for one in orders if one.due_s > max([*failed, returned_s])]
    return round(since[0] - returned_s, 1) if since else None


def audit(stage: Stage) -> int:
    """Return how many things `store-manager audit` finds wrong."""
    own = dict(pair.split("=", 1) for pair in environment(stage.settings))
    command = [sys.executable, "-c", MAIN, "audit", "--json"]
    done = subprocess.run(command, env={**os.environ, **own}, capture_output=True, text=True, check=False)  # noqa: S603
    if not done.stdout:
        raise ChaosError(f"`store-manager audit` ended with {done.returncode}: {done.stderr.strip()}")
    return int(json.loads(done.stdout)["wrong"])


def run(side: str, faults: list[str], *, rate: float | None, short: bool) -> list[dict[str, Any]]:
    """Do each of the faults to one side on a new cluster; return their rows, each with what the audit found."""
    rows: list[dict[str, Any]] = []
    with set_up(side, rate=rate, short=short) as stage:
        console.print(f"{side}: {stage.rate:.0f} requests a second")
        for fault, following in zip(faults, [*faults[1:], None], strict=True):
            console.print(f"  {fault}")
            rows += measure(stage, side, fault)
            if following is not None:
                _make_whole(stage, following)
        wrong = audit(stage)
        console.print(f"  audit: {wrong} wrong")
    return [{**row, "wrong": wrong} for row in rows]


def _make_whole(stage: Stage, following: str) -> None:
    """Bring back what a fault has left away, save what the following one brings back; give all their share."""
    for node in stage.cluster.nodes:
        process = stage.cluster.process(node)
        if process is not None:
            full_share(process.pid)
        elif following != "restart":
            stage.cluster.start(node.number)
    time.sleep(stage.calm_s)


def choose(wanted: Collection[str], *, lack: str | None) -> list[str]:
    """Return the faults that are wanted, in their order; of all, a cut only if nothing is lacking for it."""
    if ALL not in wanted:
        return sorted(wanted, key=[*FAULTS].index)
    return [fault for fault in FAULTS if fault != "cut" or not lack]


def breaches(rows: list[dict[str, Any]], *, timed: bool) -> list[str]:
    """Return a sentence for each row of the store that misses a bar; of times only if they are to be judged."""
    found = []
    for row in rows:
        if row["side"] != STORE:
            continue
        what = f"{row['fault']}, {row['kind']} {row['phase']}"
        if row["fault"] in NEVER_FAILING:
            if row["failures"] or row["unsettled"]:
                found.append(f"{what}: {row['failures']} failures, {row['unsettled']} unsettled")
            if timed and row["worst_ms"] > WORST_MS:
                found.append(f"{what}: the longest took {row['worst_ms']:.0f} ms")
        elif row["unsettled"] or (row["recovery_s"] is None or row["recovery_s"] > RECOVERY_S):
            found.append(f"{what}: {row['unsettled']} unsettled, recovered after {row['recovery_s']} s")
        if row["wrong"]:
            found.append(f"{what}: the audit found {row['wrong']} wrong")
    return found


def show(rows: list[dict[str, Any]]) -> None:
    """Print every row."""
    names = ("side", "fault", "kind", "phase", "requests", "failures", "stale", "unknown", "unsettled")
    table = Table(*names, "p50 ms", "p99 ms", "worst ms", box=None, pad_edge=False)
    for row in rows:
        figures = (f"{row[name]:.0f}" for name in ("p50_ms", "p99_ms", "worst_ms"))
        table.add_row(*(str(row[name]) for name in names), *figures)
    console.print(table)
    for row in rows:
        if row["recovery_s"] is not None and row["phase"] == "after" and row["kind"] == loads.ORDER:
            console.print(f"{row['side']}: orders succeed again {row['recovery_s']} s after a node's return")


def describe_as_markdown(rows: list[dict[str, Any]]) -> str:
    """Return a table for documents: a row for each fault and kind, all runs of it together."""
    lines = [
        "| | fault | | runs | requests | failed | unknown | unsettled | before | during | after |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    keys = dict.fromkeys((row["side"], row["fault"], row["kind"]) for row in rows)
    for key in keys:
        own = [row for row in rows if (row["side"], row["fault"], row["kind"]) == key]
        sums = (str(sum(row[name] for row in own)) for name in ("requests", "failures", "unknown", "unsettled"))
        times = (_times([row for row in own if row["phase"] == phase]) for phase in PHASES)
        lines.append(f"| {' | '.join([*key, str(len(own) // len(PHASES)), *sums, *times])} |")
    return "\n".join(lines)


def _times(rows: list[dict[str, Any]]) -> str:
    """Return the median of the runs' medians, and the worst of their 99th percentiles and of all requests, in ms."""
    median_ms = statistics.median(row["p50_ms"] for row in rows)
    return f"{median_ms:.0f} / {max(row['p99_ms'] for row in rows):.0f} / {max(row['worst_ms'] for row in rows):.0f}"


def _read(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["rows"]
    return rows


def _add(path: Path, rows: list[dict[str, Any]]) -> None:
    stages.write_json(str(path), [*(_read(path) if path.exists() else []), *rows])


def main() -> None:
    """Measure and show; exit 1 if the store misses a bar."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", nargs="+", choices=[*FAULTS, ALL], default=["kill", "restart", "freeze"])
    parser.add_argument("--sides", nargs="+", choices=[*COMMANDS], default=[STORE])
    parser.add_argument("--rate", type=float, help="requests a second; by default half of what is measured first")
    parser.add_argument("--short", action="store_true", help="a freeze and a kill, times not judged")
    parser.add_argument("--json", type=Path, help="where rows are added")
    parser.add_argument("--show", type=Path, help="print the rows of this file, and measure nothing")
    parser.add_argument("--markdown", type=Path, help="print the rows of this file as a table for documents")
    options = parser.parse_args()
    if options.show:
        show(_read(options.show))
        return
    if options.markdown:
        print(describe_as_markdown(_read(options.markdown)))  # noqa: T201 - to be redirected
        return
    lack = cuts.lacks()
    faults = ["freeze", "kill"] if options.short else choose(options.faults, lack=lack)
    console.print(stages.describe())
    if ALL in options.faults and lack:
        console.print(f"Without a cut: {lack}", markup=False)
    shutil.rmtree(RUN, ignore_errors=True)
    try:
        rows = [row for side in options.sides for row in run(side, faults, rate=options.rate, short=options.short)]
    except StoreError as error:
        console.print(f"[red]{error.message}")
        sys.exit(1)
    show(rows)
    if options.json:
        _add(options.json, rows)
    missed = breaches(rows, timed=not options.short)
    for sentence in missed:
        console.print(f"[red]{sentence}", markup=True)
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
