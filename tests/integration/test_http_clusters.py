"""The cluster and a followed product over HTTP, on whatever Cassandra the run has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from store_manager.app import create_app

if TYPE_CHECKING:
    from store_manager.database.connections import Database
    from store_manager.settings import Settings


@pytest.fixture(scope="module")
def client(settings: Settings, database: Database) -> Any:
    return create_app(settings, database).test_client()


@pytest.fixture(scope="module")
def product(client: Any) -> Any:
    return client.post("/products", json={"sku": uuid4().hex, "name": "Mouse", "price": 1}).json


def test_the_nodes_answer_own_the_whole_ring_and_hold_the_store_s_keyspace(client: Any, settings: Settings) -> None:
    cluster = client.get("/cluster").json

    assert {node["state"] for node in cluster["nodes"]} == {"UP"}
    assert sum(node["share"] for node in cluster["nodes"]) == pytest.approx(1, abs=1e-5)
    assert cluster["keyspace"] == settings.cassandra_keyspace
    assert cluster["schema_agreed"]
    assert all(node["load_bytes"] is None or node["load_bytes"] >= 0 for node in cluster["nodes"])
    assert sum(len(node["tokens"]) for node in cluster["nodes"]) == len(cluster["ranges"])


def test_a_product_is_found_where_cassandra_itself_says_that_it_is(
    client: Any, product: Any, database: Database
) -> None:
    found = client.get(f"/cluster/trace/{product['product_id']}?level=ONE").json

    table = f"{database.keyspace}.products"
    query = f"SELECT token(product_id) AS place FROM {table} WHERE product_id = {product['product_id']}"
    said = database.raw.execute(query).one()
    assert found["token"] == str(said["place"])
    assert (found["outcome"], found["name"], found["sku"]) == ("ANSWERED", "Mouse", product["sku"])
    assert [replica["address"] for replica in found["replicas"] if replica["answered_ms"] is not None]
    assert found["complete"]
    assert any("Executing single-partition query" in event["activity"] for event in found["events"])


def test_a_followed_write_moves_no_version_and_changes_nothing(client: Any, product: Any) -> None:
    address = f"/products/{product['product_id']}"
    before = client.get(address)

    found = client.get(f"/cluster/trace/{product['product_id']}?operation=WRITE").json

    assert (found["outcome"], found["operation"]) == ("ANSWERED", "WRITE")
    assert any("Committing proposal" in event["activity"] for event in found["events"])
    after = client.get(address)
    assert (after.json, after.headers["ETag"]) == (before.json, before.headers["ETag"])


@pytest.mark.parametrize("query", ["", "?operation=WRITE"])
def test_a_product_that_is_retired_or_never_was_is_not_followed(client: Any, query: str) -> None:
    retired = client.post("/products", json={"sku": uuid4().hex, "name": "Mouse", "price": 1}).json["product_id"]
    assert client.delete(f"/products/{retired}").status_code == 204

    for product_id in (retired, uuid4()):
        refused = client.get(f"/cluster/trace/{product_id}{query}")
        assert (refused.status_code, refused.json["code"]) == (404, "PRODUCT_NOT_FOUND")
