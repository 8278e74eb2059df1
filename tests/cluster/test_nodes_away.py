"""The store over HTTP on three real nodes: who answers, and what goes on while one or two nodes are away."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from conftest import Place, settings_for, store_keyspace

from store_manager.app import create_app
from store_manager.database.connections import open_database
from store_manager.database.health import Part, Reach

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from store_manager.database.connections import Database
    from store_manager.lab.clusters import Cluster
    from store_manager.settings import Settings

PATIENCE_S = 60.0
NUMBERS = {"replicas_required": 2, "replicas_alive": 1}


@pytest.fixture(scope="module")
def settings(three_nodes: Cluster) -> Settings:
    return settings_for(Place(tuple(three_nodes.addresses)), replicas=3)


@pytest.fixture(scope="module")
def database(settings: Settings) -> Iterator[Database]:
    with store_keyspace(settings, kept=True) as database:
        yield database


@pytest.fixture(scope="module")
def client(settings: Settings, database: Database) -> Any:
    return create_app(settings, database).test_client()


@pytest.fixture(scope="module")
def shop(client: Any) -> dict[str, str]:
    """A product with stock, and a user, written when all nodes were there."""
    product = client.post("/products", json={"sku": uuid4().hex, "name": "Mouse", "price": 1}).json["product_id"]
    assert client.post("/stocks", json={"product_id": product, "quantity": 100}).status_code == 201
    user = client.post("/users", json={"name": "Jane", "email": f"{uuid4().hex}@example.ca"}).json["user_id"]
    return {"product": product, "user": user}


def order(client: Any, shop: dict[str, str]) -> Any:
    lines = [{"product_id": shop["product"], "quantity": 1}]
    return client.post("/orders", json={"user_id": shop["user"], "items": lines})


def wait_until(holds: Callable[[], bool], what: str) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end_s, f"not within {PATIENCE_S} s: {what}"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def thinner(settings: Settings, database: Database) -> Iterator[dict[int, Database]]:
    """Connections to keyspaces with one copy and with two."""
    found = {}
    for copies in (1, 2):
        keyspace = f"{settings.cassandra_keyspace}_{copies}"
        database.raw.execute(
            f"CREATE KEYSPACE {keyspace} WITH replication = {{'class': 'NetworkTopologyStrategy', 'dc1': {copies}}}"
        )
        found[copies] = open_database(settings, keyspace)
    yield found
    for one in found.values():
        one.close()


def test_every_node_coordinates_its_share_of_the_reads_and_each_answer_names_it(
    client: Any, shop: dict[str, str], three_nodes: Cluster
) -> None:
    named = Counter(client.get(f"/products/{shop['product']}").headers["Coordinator-Node"] for _ in range(60))
    assert set(named) == set(three_nodes.addresses)
    assert min(named.values()) >= 6
    work = [(node.reads or 0, node.writes or 0) for node in three_nodes.status()]
    assert min(reads for reads, _ in work) > 0, "each has read its copy"
    assert min(writes for _, writes in work) > 0, "and written it"


def test_what_goes_on_while_one_node_and_then_two_are_away(
    client: Any,
    shop: dict[str, str],
    three_nodes: Cluster,
    settings: Settings,
    database: Database,
    thinner: dict[int, Database],
) -> None:
    product, stock = f"/products/{shop['product']}", f"/stocks/{shop['product']}"
    three_nodes.kill(2)
    wait_until(lambda: [node.up for node in database.health().nodes] == [True, False, True], "one is known to be away")
    assert order(client, shop).status_code == 201
    assert client.get(stock).headers["Consistency-Level"] == "LOCAL_QUORUM"
    refused = client.get(product, headers={"Consistency-Level": "ALL"})
    assert (refused.status_code, refused.json["code"]) == (503, "DATABASE_UNAVAILABLE")
    assert (refused.json["replicas_required"], refused.json["replicas_alive"]) == (3, 2)
    assert thinner[1].reach() == Reach(Part.SOME, Part.SOME)
    assert thinner[2].reach() == Reach(Part.ALL, Part.SOME), "two of three ranges have a copy on the dead node"

    three_nodes.kill(3)
    wait_until(lambda: client.get("/readyz").json["writes"] == "none", "it is known that nothing can be written")
    ready = client.get("/readyz")
    assert (ready.status_code, ready.json["status"], ready.json["reads"]) == (200, "degraded", "all")
    for path in (product, stock, "/products", "/stocks", "/stocks/reports/overview-stocks"):
        read = client.get(path)
        assert (read.status_code, read.headers["Possibly-Stale"]) == (200, "true"), path
        assert read.headers["Consistency-Level"] == "LOCAL_ONE"
    strict: Any = create_app(replace(settings, cassandra_stale_reads=False), database).test_client()
    for refused in (order(client, shop), client.put(stock, json={"quantity": 5}), strict.get(product)):
        assert refused.status_code == 503
        assert {name: refused.json[name] for name in NUMBERS} == NUMBERS

    three_nodes.start(3)
    wait_until(lambda: order(client, shop).status_code == 201, "orders are placed again")
    wait_until(lambda: "Possibly-Stale" not in client.get(product).headers, "reads are whole again")
    three_nodes.start(2)
    wait_until(lambda: client.get("/readyz").json["status"] == "ready", "all is well again")
