"""A rolling deployment: version N of the service and N+1 side by side on one cluster, under load, without a failure.

N+1 is this source with a column and a table more. Its deployment is what the how-to says: sync what the Models add,
replace one server, back-fill by a migration, replace the other. Shoppers go on meanwhile, at a steady pace; a server
that is being replaced refuses new connections, and they go to the other one, as a load balancer would send them.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Self
from uuid import UUID, uuid4

import orjson
from cassandra.concurrent import execute_concurrent_with_args

from benchmarks.clients import HttpServer, NoAnswerError
from benchmarks.faults import MAIN, Service, environment
from benchmarks.sync_crowds import DrillError
from store_manager.database.connections import open_database
from store_manager.lab import processes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from store_manager.settings import Settings

PACKAGE = Path(__file__).parent.parent / "store_manager"
HOST, PORTS = "127.0.0.1", (5163, 5164)

SHOPPERS = 4
PACE_S = 0.1
"""Each shopper sends a request so often, if the last one was answered by then."""

CLIENT_TIMEOUT_S = 15.0
READY_S = 90.0
PRODUCTS = 20
STEP_S = 600.0
POLL_S = 0.1

MARK = '    created_at = shown(columns.DateTime(), "When it was created, UTC")\n'
COLUMN = '    weight_g = writable(columns.Integer(), "Weight in grams", example=85, minimum=0)\n'
TABLE = '''

class ProductSku(StoreModel):
    """The SKU of each product, by a part of it. Serves: the drill. One row a partition."""

    __table_name__ = "product_skus"

    product_id = columns.UUID(partition_key=True)
    sku = columns.Text()
'''
MIGRATION = '''"""Copy the SKUs of products."""

from store_manager.schema.moves import put


def migrate(step):
    step.confirm("both-forms-written", "every server that runs writes the new form")
    step.backfill("skus", table="products", columns=("sku", "WRITETIME(sku) AS written_at"), write=copy)


def copy(row):
    if row["sku"] is not None:
        return put("product_skus", {"product_id": row["product_id"], "sku": row["sku"]}, written_at=row["written_at"])
'''


class Server(Service):
    """One server of the deployment, of this source or of another one."""

    def __init__(self, number: int, settings: Settings, directory: Path, source: Path) -> None:
        super().__init__(number, settings, directory)
        self.source = source
        self.http = HttpServer(HOST, settings.http_port, timeout_s=CLIENT_TIMEOUT_S, connections=SHOPPERS)

    def start(self) -> None:
        """Start it, and return when it is ready; raises DrillError if it does not come."""
        self._starts += 1
        output = self._directory / f"server-{self.settings.http_port}.{self._starts}.log"
        command = [str(shutil.which("env")), "-C", str(self.source), *environment(self.settings)]
        self._process = processes.spawn([*command, sys.executable, "-c", MAIN, "serve"], output, os.getpid())
        end_s = time.monotonic() + READY_S
        while not self._is_ready():
            if time.monotonic() > end_s or not processes.is_alive(self._process):
                raise DrillError(f"Server {self.settings.http_port} is not ready: {output.read_text(encoding='utf-8')}")
            time.sleep(POLL_S)

    def stop(self) -> None:
        """Let it finish what is under way, and return when it has ended."""
        if self._process is not None:
            processes.terminate(self._process)
            if not processes.wait_gone(self._process, READY_S):
                raise DrillError(f"Server {self.settings.http_port} does not end")

    def _is_ready(self) -> bool:
        try:
            return self.http.send("GET", "/readyz", None, {}).status < 500  # noqa: PLR2004
        except NoAnswerError:
            return False


@dataclass
class Load:
    """Shoppers at a steady pace, until the context ends: what they were answered, and how long it took."""

    servers: Sequence[Server]
    product_ids: Sequence[str]
    user_id: str
    answers: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    took_s: list[float] = field(default_factory=list)
    _stopped: threading.Event = field(default_factory=threading.Event)
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(SHOPPERS, "shopper"))

    def __enter__(self) -> Self:
        self._shoppers = [self._pool.submit(self._shop, number) for number in range(SHOPPERS)]
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._pool.shutdown()

    def raise_errors(self) -> None:
        """Raise what went wrong with a shopper itself."""
        for shopper in self._shoppers:
            shopper.result()

    def percentile_s(self, part: float) -> float:
        """Return how long that part of all requests took at most."""
        ordered = sorted(self.took_s)
        return round(ordered[min(int(len(ordered) * part), len(ordered) - 1)], 3)

    def _shop(self, number: int) -> None:
        random = Random(number)  # noqa: S311 - decides what is bought, keeps no secret
        due_s = time.monotonic() + random.uniform(0, PACE_S)
        while not self._stopped.wait(max(0.0, due_s - time.monotonic())):
            due_s = max(due_s + PACE_S, time.monotonic() - PACE_S)
            self._ask(random, *self._choose(random))

    def _choose(self, random: Random) -> tuple[str, str, Any]:
        product_id = random.choice(self.product_ids)
        item = {"product_id": product_id, "quantity": 1}
        return random.choice(
            (
                ("GET", f"/products/{product_id}", None),
                ("GET", "/products?limit=5", None),
                ("GET", f"/stocks/{product_id}", None),
                ("PATCH", f"/products/{product_id}", {"price": f"{random.randint(1, 99)}.50"}),
                ("POST", f"/stocks/{product_id}/adjustments", {"delta": 3, "reason": "RECEIVED"}),
                ("POST", "/orders", {"user_id": self.user_id, "items": [item]}),
            )
        )

    def _ask(self, random: Random, method: str, path: str, body: Any) -> None:
        began_s = time.monotonic()
        for server in random.sample(self.servers, len(self.servers)):
            try:
                reply = server.http.send(method, path, body, {})
            except NoAnswerError as error:
                if not error.was_sent:
                    continue  # it takes no connections: it is being replaced
                self.failures.append(f"{method} {path}: {error.code}")
                return
            self.took_s.append(time.monotonic() - began_s)
            self.answers[f"{method} {reply.status}"] += 1
            if reply.status >= 500:  # noqa: PLR2004
                self.failures.append(f"{method} {path}: {reply.status} {orjson.dumps(reply.body).decode()}")
            return
        self.failures.append(f"{method} {path}: no server took it")


def roll_out(
    settings: Settings, directory: Path, *, rows: int, calm_s: float, tell: Callable[[str], None]
) -> dict[str, Any]:
    """Deploy N+1 over N under load and return what was seen; DrillError if a request failed or a row is missing."""
    newer, moves = _make_newer(directory), directory / "moves"
    moves.mkdir(parents=True, exist_ok=True)
    took: dict[str, float] = {}

    def do(what: str, work: Callable[[], object]) -> None:
        tell(what)
        began_s = time.monotonic()
        work()
        took[what] = round(time.monotonic() - began_s, 1)

    _sync(settings, PACKAGE.parent, moves)
    seeded = _seed(settings, rows)
    tell(f"{seeded:,} products are there")
    (moves / "0001_copy_skus.py").write_text(MIGRATION, encoding="utf-8")
    ports = [replace(settings, http_host=HOST, http_port=port, schema_behind="refuse") for port in PORTS]
    with ExitStack() as stack:
        servers = [Server(number, own, directory, PACKAGE.parent) for number, own in enumerate(ports, start=1)]
        for server in servers:
            stack.callback(server.kill)
            server.start()
        product_ids, user_id = _open(servers[0].http)
        with Load(servers, product_ids, user_id) as load:
            time.sleep(calm_s)
            do("what the Models add", lambda: _sync(settings, newer, directory / "none"))
            do("server 1 becomes N+1", lambda: _replace(servers[0], newer))
            time.sleep(calm_s)
            do("back-fill, N beside N+1", lambda: _sync(settings, newer, moves, "--confirm", "both-forms-written"))
            do("server 2 becomes N+1", lambda: _replace(servers[1], newer))
            time.sleep(calm_s)
        load.raise_errors()
    copied = _compare(settings)
    if load.failures:
        raise DrillError(f"{len(load.failures)} of {load.answers.total()} requests failed: {load.failures[0]}")
    return {
        "drill": "rollout",
        "rows": seeded,
        "copied": copied,
        "rows_a_second": round(copied / took["back-fill, N beside N+1"]),
        "requests": load.answers.total(),
        "failed": len(load.failures),
        "p50_s": load.percentile_s(0.5),
        "p99_s": load.percentile_s(0.99),
        "worst_s": load.percentile_s(1.0),
        **{f"{what}, s": seconds for what, seconds in took.items()},
    }


def _make_newer(directory: Path) -> Path:
    """Write the source of version N+1 and return where it is."""
    target = directory / "newer"
    shutil.copytree(PACKAGE, target / "store_manager", ignore=shutil.ignore_patterns("__pycache__"))
    products, models = (target / "store_manager" / "models" / name for name in ("products.py", "__init__.py"))
    _edit(products, MARK, COLUMN + MARK)
    products.write_text(products.read_text(encoding="utf-8") + TABLE, encoding="utf-8")
    _edit(models, "    ProductListingDirectory,\n)\n", "    ProductListingDirectory,\n    ProductSku,\n)\n")
    _edit(models, "    UserListingDirectory,\n)\n", "    UserListingDirectory,\n    ProductSku,\n)\n")
    (directory / "none").mkdir(exist_ok=True)
    return target


def _edit(path: Path, before: str, after: str) -> None:
    text = path.read_text(encoding="utf-8")
    if text.count(before) != 1:
        raise DrillError(f"{path.name} has not the one place that the drill changes")
    path.write_text(text.replace(before, after), encoding="utf-8")


def _sync(settings: Settings, source: Path, moves: Path, *options: str) -> dict[str, Any]:
    """Run `store-manager schema sync` of a source, as an operator would, and return its report."""
    ran = subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-c", MAIN, "schema", "sync", "--json", "--migrations", str(moves), *options],
        cwd=source,
        env={**os.environ, **dict(one.split("=", 1) for one in environment(settings))},
        capture_output=True,
        check=False,
        timeout=STEP_S,
    )
    if ran.returncode:
        raise DrillError(f"schema sync failed: {ran.stderr.decode()}")
    told: dict[str, Any] = json.loads(ran.stdout)
    return told


def _replace(server: Server, source: Path) -> None:
    server.stop()
    server.source = source
    server.start()


def _seed(settings: Settings, rows: int) -> int:
    """Write products as rows, for nobody could order so many; they are in no listing."""
    database = open_database(settings)
    try:
        prepared = database.raw.prepare(
            f"INSERT INTO {settings.cassandra_keyspace}.products "  # noqa: S608
            "(product_id, sku, name, price, currency, created_at, updated_at, state, version, change_id) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        )
        now, price = datetime.now(UTC), Decimal("2.50")
        values = (
            (uuid4(), f"SEED-{number}", f"Seeded {number}", price, "CAD", now, now, "ACTIVE", 1, uuid4())
            for number in range(rows)
        )
        for succeeded, error in execute_concurrent_with_args(
            database.raw, prepared, values, concurrency=64, raise_on_first_error=False, results_generator=True
        ):
            if not succeeded:
                raise DrillError(f"A product could not be written: {error}")
    finally:
        database.close()
    return rows


def _open(server: HttpServer) -> tuple[list[str], str]:
    """Make the products that are sold, with stock, and somebody who buys."""
    tag = uuid4().hex[:8]
    product_ids = []
    for number in range(PRODUCTS):
        made = _post(server, "/products", {"name": f"Sold {number}", "sku": f"{tag}-{number}", "price": "2.50"})
        product_ids.append(made["product_id"])
        _post(server, "/stocks", {"product_id": made["product_id"], "quantity": 1000})
    user = _post(server, "/users", {"name": "Somebody", "email": f"{tag}@example.ca"})
    return product_ids, user["user_id"]


def _post(server: HttpServer, path: str, body: Any) -> Any:
    reply = server.send("POST", path, body, {})
    if reply.status >= 300:  # noqa: PLR2004
        raise DrillError(f"POST {path} was answered {reply.status}: {reply.body}")
    return reply.body


def _compare(settings: Settings) -> int:
    """Return how many rows were copied; raises DrillError unless each product has its copy."""
    database = open_database(settings)
    try:
        products, copies = (_read_skus(database.raw, settings, table) for table in ("products", "product_skus"))
    finally:
        database.close()
    if products != copies:
        wrong = len(products.items() ^ copies.items())
        raise DrillError(f"{wrong} rows differ between {len(products)} products and {len(copies)} copies")
    return len(copies)


def _read_skus(raw: Any, settings: Settings, table: str) -> dict[UUID, str]:
    rows = raw.execute(f"SELECT product_id, sku FROM {settings.cassandra_keyspace}.{table}")  # noqa: S608
    return {row["product_id"]: row["sku"] for row in rows}
