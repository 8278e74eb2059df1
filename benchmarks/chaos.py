"""Whether the store keeps its promises while its servers and its nodes are killed and frozen.

Shoppers buy, cancel, restock and read over HTTP from two servers on three nodes, and write down what they were told.
Meanwhile servers and nodes (one node at a time) are killed by SIGKILL, or frozen for longer than every time-out; in the
end all three nodes are killed at once and started again. Then nothing may be PENDING, the history must be explained by
one order of events (`benchmarks.checks`), and `store-manager audit` must find nothing.

    python -m benchmarks.chaos                              about four minutes
    python -m benchmarks.chaos --orders 100000 --calm 60    for as long as it takes, more than an hour

How long requests take during each kind of fault is not measured here but by `benchmarks.failover` (`make failover`).
The same seed gives the same faults and the same shoppers, but not the same moments: processes answer when they do.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from http import HTTPStatus
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks import histories, stages
from benchmarks.checks import check
from benchmarks.clients import Client, HttpServer, insist, order_of
from benchmarks.faults import CALM_S, MAIN, ChaosError, Faults, Service, environment
from benchmarks.histories import Journal, Kind, Outcome
from benchmarks.shoppers import Crew, Traffic, open_shop
from benchmarks.surveys import survey
from store_manager.errors import StoreError
from store_manager.lab.clusters import Cluster
from store_manager.models.orders import PENDING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.checks import Breach
    from benchmarks.histories import History, Remains
    from benchmarks.shoppers import Shop
    from store_manager.settings import Settings

NETWORK, NODES, HEAP_MB = "127.0.6", 3, 384
HOST, PORTS = "127.0.0.1", (5061, 5062)
RUN = stages.LAB / "chaos-run"

REQUEST_TIMEOUT_S = 5.0
CLIENT_TIMEOUT_S = 8.0
PATIENCE_S = 90.0
PENDING_LIMIT_S = 10.0
RECOVERY_INTERVAL_S = 3.0
"""Shorter than by default, so that a short run sees many requests die and be taken over."""

SECONDS = 100.0
COMEBACK_S = 120.0
RECOVERY_S = 120.0
PRODUCTS, USERS = 8, 4
CREW = Crew()
LARGE_CREW = Crew(
    buyers=24, cancellers=3, restockers=2, readers=2, cancelled=0.1, handed_over=0.1, received=2000, most_lines=2
)
"""Who shops when so many orders are asked for: more buyers for what comes in, and less to do for each order."""

MOST_SHOWN = 20
POLL_S = 0.2

console = Console(highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class Plan:
    """How long to shop among faults: until so many orders were answered 201 or so many seconds have passed.

    `calm_s` is how long nothing breaks, at the mean, between a thing that is back and the next fault.
    """

    seconds: float
    orders: float
    calm_s: float

    @property
    def is_long(self) -> bool:
        """Whether so many orders are asked for: then many shop, and nodes compile as those in production do."""
        return self.orders < math.inf

    @property
    def crew(self) -> Crew:
        """Who shops."""
        return LARGE_CREW if self.is_long else CREW


@dataclass(frozen=True)
class Stage:
    """The cluster, the two servers on it and where clients find them."""

    cluster: Cluster
    services: Sequence[Service]
    servers: Sequence[HttpServer]


@contextmanager
def set_up(plan: Plan) -> Iterator[Stage]:
    """Bring up three nodes and two servers without a past, and leave nothing running."""
    shutil.rmtree(RUN, ignore_errors=True)
    RUN.mkdir(parents=True)
    cluster = Cluster(
        stages.LAB, NODES, name="chaos", network=NETWORK, heap_mb=HEAP_MB, owned=True, thorough=plan.is_long
    )
    cluster.destroy()
    with ExitStack() as stack:
        with console.status("Cassandra") as status:
            cluster.up(status.update)
            stack.callback(cluster.destroy)
            stack.callback(cluster.down)
            status.update("Schema")
            settings = stages.prepare(cluster)
            status.update("Servers")
            services = [
                Service(number, _settings_of(settings, port), RUN) for number, port in enumerate(PORTS, start=1)
            ]
            for service in services:
                stack.callback(service.kill)
                service.start()
        servers = [HttpServer(HOST, port, timeout_s=CLIENT_TIMEOUT_S, connections=plan.crew.size) for port in PORTS]
        yield Stage(cluster, services, servers)


def _settings_of(settings: Settings, port: int) -> Settings:
    return replace(
        settings,
        http_host=HOST,
        http_port=port,
        log_level="WARNING",
        request_timeout_s=REQUEST_TIMEOUT_S,
        order_pending_limit_s=PENDING_LIMIT_S,
        recovery_interval_s=RECOVERY_INTERVAL_S,
    )


def shop_among_faults(stage: Stage, plan: Plan, seed: str, journal: Journal) -> tuple[Shop, Counter[str]]:
    """Let everybody shop while things break; return the shop, and what was broken how often."""
    random = Random(seed)  # noqa: S311 - names products, keeps no secret
    for server in stage.servers:
        insist(server, "/readyz", patience_s=COMEBACK_S)
    first = Client(stage.servers, journal.write, random, patience_s=PATIENCE_S)
    shop = open_shop(stage.servers[0], first, random, products=PRODUCTS, users=USERS)
    traffic = Traffic(plan.crew, shop, stage.servers, journal.write, seed, patience_s=PATIENCE_S, orders=sys.maxsize)
    with ThreadPoolExecutor(1, thread_name_prefix="traffic") as pool, _progress(plan) as shown:
        shopping = pool.submit(traffic.run)
        try:
            with Faults(stage.cluster, stage.services, seed, shown.tell, plan.calm_s) as faults:
                while not shown.is_done(traffic, journal) and not shopping.done():
                    faults.raise_errors()
                    time.sleep(POLL_S)
                faults.stop()
                faults.kill_all_nodes()
            _await_comeback(traffic)
        finally:
            traffic.stop()
        shopping.result()
    return shop, faults.done


def _await_comeback(traffic: Traffic) -> None:
    """Wait until orders are placed again, so that the end of the history shows the store at work."""
    enough, end_s = traffic.placed + traffic.crew.buyers, time.monotonic() + COMEBACK_S
    while traffic.placed < enough and not traffic.stopped.is_set():
        if time.monotonic() > end_s:
            raise ChaosError("no order is placed any more, although all nodes are back")
        time.sleep(POLL_S)


@dataclass(frozen=True)
class _Shown:
    """A bar that follows the shoppers, and a line for each fault."""

    plan: Plan
    progress: Progress
    task: TaskID
    began_s: float

    def tell(self, what: str) -> None:
        """Print a line with the time."""
        self.progress.console.print(f"{time.monotonic() - self.began_s:7.1f} s  {what}")

    def is_done(self, traffic: Traffic, journal: Journal) -> bool:
        """Move the bar; return whether it was enough."""
        parts = (time.monotonic() - self.began_s) / self.plan.seconds, traffic.placed / self.plan.orders
        text = f"{traffic.placed:,} orders, {journal.unknown:,} unknown"
        self.progress.update(self.task, completed=max(parts), description=text)
        return max(parts) >= 1


@contextmanager
def _progress(plan: Plan) -> Iterator[_Shown]:
    columns = (BarColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True) as progress:
        yield _Shown(plan, progress, progress.add_task("", total=1), time.monotonic())


@dataclass(frozen=True)
class Settled:
    """How the store came to rest: seconds until nothing was PENDING, orders that only the verb `recover` finished."""

    seconds: float
    left_to_verb: int


def settle(stage: Stage, journal: Journal) -> Settled:
    """Wait until recovery has decided every order, and let the verb confirm it; raises ChaosError if it does not."""
    began_s = time.monotonic()
    open_ids = [order_id for order_id, code in journal.orders.items() if code not in ("", "STOCK_SHORT")]
    with console.status("Recovery"):
        while open_ids := [order_id for order_id in open_ids if _is_pending(stage.servers[0], order_id)]:
            if time.monotonic() - began_s > RECOVERY_S:
                raise ChaosError(f"{len(open_ids)} orders are still PENDING, such as {open_ids[0]}")
            time.sleep(RECOVERY_INTERVAL_S)
        # What is younger than the limit is nobody's to finish yet, unless its worker lives.
        time.sleep(max(0.0, began_s + PENDING_LIMIT_S + RECOVERY_INTERVAL_S - time.monotonic()))
        waited_s, left = time.monotonic() - began_s, 0
        while finished := _run(stage, "recover").stdout.splitlines():
            left += len(finished)
            if time.monotonic() - began_s > RECOVERY_S:
                raise ChaosError(f"recovery does not come to an end: {finished[0]}")
    return Settled(round(waited_s, 1), left)


def _is_pending(server: HttpServer, order_id: str) -> bool:
    reply = insist(server, f"/orders/{order_id}")
    return reply.status == HTTPStatus.OK and order_of(reply).status == PENDING


def _run(stage: Stage, *verb: str) -> subprocess.CompletedProcess[str]:
    """Run a verb of the command line on the store's keyspace; raises ChaosError if it ends in an error of its own."""
    own = dict(pair.split("=", 1) for pair in environment(stage.services[0].settings))
    command = [sys.executable, "-c", MAIN, *verb]
    done = subprocess.run(command, env={**os.environ, **own}, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode and not done.stdout:
        raise ChaosError(f"`store-manager {' '.join(verb)}` ended with {done.returncode}: {done.stderr.strip()}")
    return done


def survey_store(stage: Stage, shop: Shop, journal: Journal) -> Remains:
    """Read all that the store holds, with a bar."""
    total = len(shop.product_ids) + len(shop.user_ids) + len(journal.orders)
    with Progress(BarColumn(), TextColumn("{task.description}"), console=console, transient=True) as progress:
        task = progress.add_task("Reading every stock and every order", total=total)
        return survey(stage.servers, shop.product_ids, shop.user_ids, journal.orders, lambda: progress.advance(task))


def run(plan: Plan, seed: str) -> Report:
    """Shop among faults on a new cluster, and judge what remains."""
    path = RUN / "history.jsonl"
    with set_up(plan) as stage:
        journal = Journal(path)
        shop, faults = shop_among_faults(stage, plan, seed, journal)
        settled = settle(stage, journal)
        journal.close(survey_store(stage, shop, journal))
        with console.status("Audit"):
            audit = json.loads(_run(stage, "audit", "--json").stdout)
    with console.status("Checking the history"):
        history = histories.read(path)
        return Report(seed, faults, settled, history, check(history), audit)


@dataclass(frozen=True)
class Report:
    """What was done to the store, what clients were told, and what is wrong."""

    seed: str
    faults: Counter[str]
    settled: Settled
    history: History
    breaches: list[Breach]
    audit: dict[str, Any]

    @property
    def is_clean(self) -> bool:
        """Whether every promise was kept."""
        return not self.breaches and not self.audit["wrong"]

    def operations(self) -> list[dict[str, Any]]:
        """Return, for each kind of operation, how many ended how, and what became of those once unknown."""
        rows: list[dict[str, Any]] = []
        for kind in Kind:
            of_kind = [one for one in self.history.operations if one.kind is kind]
            outcomes = Counter(one.outcome for one in of_kind)
            unknown = [one for one in of_kind if one.was_unknown]
            rows.append(
                {
                    "kind": kind.value,
                    "asked": len(of_kind),
                    **{outcome.value: outcomes[outcome] for outcome in Outcome},
                    "once_unknown": len(unknown),
                    "settled": sum(one.outcome is not Outcome.UNKNOWN for one in unknown),
                    "longest_s": round(max((one.answer.ended_s - one.began_s for one in of_kind), default=0.0), 1),
                }
            )
        return rows

    def refusals(self) -> Counter[str]:
        """Return how many requests were answered with each code, or not at all."""
        codes = (attempt.code for one in self.history.operations for attempt in one.attempts)
        return Counter(code for code in codes if code)

    def to_json(self) -> dict[str, Any]:
        """Return everything, for machines."""
        return {
            **stages.about(),
            "seed": self.seed,
            "operations": self.operations(),
            "requests_refused_or_unanswered": dict(self.refusals().most_common()),
            "faults": dict(self.faults),
            "recovery": asdict(self.settled),
            "breaches": [asdict(breach) for breach in self.breaches],
            "audit": self.audit,
        }


def show(report: Report) -> None:
    """Print what was asked, told, broken and found."""
    rows = report.operations()
    table = Table(*(name.replace("_", " ") for name in rows[0]), box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(f"{value:,}" if isinstance(value, int) else str(value) for value in row.values()))
    console.print(table)
    console.print("Requests refused or unanswered:", _listed(report.refusals()))
    console.print("Faults:", _listed(report.faults))
    console.print(
        f"Recovery: nothing was PENDING {report.settled.seconds} s after the last request; "
        f"{report.settled.left_to_verb} orders were left to `store-manager recover`"
    )
    console.print("Audit:", f"{report.audit['wrong']} wrong; looked at", _listed(Counter(report.audit["looked_at"])))
    for finding in report.audit["findings"][:MOST_SHOWN]:
        console.print(f"  {finding['severity']} {finding['code']} {finding['where']}: {finding['what']}", markup=False)
    console.print(f"History: {len(report.breaches)} breaches")
    for breach in report.breaches[:MOST_SHOWN]:
        console.print(f"  {breach.rule}: {breach.subject}: {breach.detail}", markup=False)
    console.print("[green]Every promise was kept" if report.is_clean else "[red]Promises were broken")


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{number:,} {name}" for name, number in counts.most_common()) or "none"


def main() -> None:
    """Run, show, and exit 1 if a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--seconds", type=float, help=f"how long to shop among faults ({SECONDS:.0f}, or no end with --orders)"
    )
    parser.add_argument("--orders", type=int, help="shop, in a larger crowd, until so many orders were placed")
    parser.add_argument("--calm", type=float, default=CALM_S, help="seconds without a fault, at the mean")
    parser.add_argument("--seed", default=secrets.token_hex(4), help="for the same faults and shoppers again")
    parser.add_argument("--json", type=Path, help="where to write the report")
    options = parser.parse_args()
    seconds = options.seconds or (math.inf if options.orders else SECONDS)
    plan = Plan(seconds, options.orders or math.inf, options.calm)
    console.print(f"{stages.describe()}\nseed: {options.seed}\nhistory: {RUN / 'history.jsonl'}")
    try:
        report = run(plan, options.seed)
    except StoreError as error:
        console.print(f"[red]{error.message}")
        sys.exit(1)
    show(report)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(report.to_json(), indent=1) + "\n", encoding="utf-8")
    sys.exit(not report.is_clean)


if __name__ == "__main__":
    main()
