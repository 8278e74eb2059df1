"""Three real nodes: each is enough to connect, reads spread over them, and losing one costs no read."""

from __future__ import annotations

import threading
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from cassandra.cqlengine import columns, connection
from cassandra.cqlengine.management import sync_table
from cassandra.cqlengine.query import BatchQuery, LWTException
from conftest import Place, lab_cluster, settings_for, store_keyspace, with_hosts

from store_manager.app import create_app
from store_manager.database.connections import open_database
from store_manager.database.deadlines import deadline
from store_manager.database.health import Part
from store_manager.errors import DatabaseUnavailable, OutcomeUnknown
from store_manager.models.base import StoreModel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from store_manager.database.connections import Database
    from store_manager.lab.clusters import Cluster
    from store_manager.settings import Settings

KEYS = [uuid4() for _ in range(30)]
PATIENCE_S = 60.0


class Beacon(StoreModel):
    """A row that is there whenever a node is."""

    __table_name__ = "beacons"

    beacon_id = columns.UUID(partition_key=True)
    version = columns.BigInt()


@pytest.fixture(scope="module")
def settings(three_settings: Settings) -> Settings:
    return three_settings


@pytest.fixture(scope="module")
def database(settings: Settings) -> Iterator[Database]:
    with store_keyspace(settings, kept=True) as database:
        sync_table(Beacon)
        for key in KEYS:
            Beacon.if_not_exists().create(beacon_id=key, version=0)
        assert Beacon.objects(beacon_id=KEYS[0]).first().version == 0
        yield database


@pytest.fixture(autouse=True)
def _whole_cluster(three_nodes: Cluster, database: Database) -> Iterator[None]:
    """Give every test all nodes, up in the driver's eyes too."""
    yield
    for node in three_nodes.status():
        if node.process == "frozen":
            three_nodes.thaw(node.number)
        elif node.process == "stopped":
            three_nodes.start(node.number)
    wait_until(lambda: all(node.clock_skew_s is not None for node in database.health().nodes), "all nodes answer")


def wait_until(holds: Callable[[], bool], what: str) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end_s, f"not within {PATIENCE_S} s: {what}"
        time.sleep(0.1)


@pytest.fixture
def asked(database: Database, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The driver's futures of all statements that this process sends: each knows the nodes it was sent to."""
    futures: list[Any] = []
    send = database.raw.execute_async

    def note(query: Any, **options: Any) -> Any:
        futures.append(send(query, **options))
        return futures[-1]

    monkeypatch.setattr(database.raw, "execute_async", note)
    return futures


def first_asked(futures: list[Any]) -> list[str]:
    return [future.attempted_hosts[0].address for future in futures]


def read_all() -> None:
    for key in KEYS:
        assert Beacon.objects(beacon_id=key).first() is not None


@pytest.mark.parametrize("number", [1, 2, 3])
def test_each_node_alone_is_enough_as_contact_point(settings: Settings, three_nodes: Cluster, number: int) -> None:
    address = three_nodes.node(number).address
    database = open_database(with_hosts(settings, address), settings.cassandra_keyspace)
    try:
        assert [node.address for node in database.health().nodes] == three_nodes.addresses
        assert database.health().warnings == []
        found = database.session.execute(f"SELECT beacon_id FROM {settings.cassandra_keyspace}.beacons")
        assert {row["beacon_id"] for row in found} == set(KEYS)
    finally:
        database.close()


def test_a_dead_contact_point_does_not_keep_the_others_from_being_used(
    settings: Settings, three_nodes: Cluster
) -> None:
    three_nodes.kill(1)
    database = open_database(with_hosts(settings, *three_nodes.addresses))
    try:
        assert [node.up for node in database.health().nodes] == [False, True, True]
    finally:
        database.close()


def test_reads_of_one_row_spread_over_its_replicas(asked: list[Any], three_nodes: Cluster) -> None:
    for _ in range(60):
        Beacon.objects(beacon_id=KEYS[0]).first()
    shares = Counter(first_asked(asked))
    assert set(shares) == set(three_nodes.addresses)
    assert min(shares.values()) >= 6


def test_conditional_writes_of_one_row_go_to_one_replica_whatever_is_read_meanwhile(
    asked: list[Any], three_nodes: Cluster, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On a busy machine a node that was slow once would be asked last for a moment.
    monkeypatch.setattr(database.session._prober, "suspect", lambda _: None)
    first: dict[Any, str] = {}
    for key in KEYS:
        version = Beacon.objects(beacon_id=key).first().version
        del asked[:]
        for step in range(0, 8, 2):
            Beacon.objects(beacon_id=key).iff(version=version + step).update(version=version + step + 1)
            with BatchQuery() as batch:
                Beacon.objects(beacon_id=key).iff(version=version + step + 1).batch(batch).update(
                    version=version + step + 2
                )
            Beacon.objects(beacon_id=key).first()
        [first[key]] = set(first_asked(asked[0::3] + asked[1::3]))
    assert set(first.values()) == set(three_nodes.addresses), "different rows burden different nodes"


@contextmanager
def readers(count: int = 4) -> Iterator[list[Any]]:
    """Read all the while, and collect each failure and each answer that took too long for a request."""
    failures: list[Any] = []
    stop, reads = threading.Event(), [0] * count

    def work(number: int) -> None:
        while not stop.is_set():
            try:
                with deadline(5):
                    row = Beacon.objects(beacon_id=KEYS[reads[number] % len(KEYS)]).first()
                if row is None:
                    failures.append("a row is missing")
            except Exception as error:  # noqa: BLE001 - whatever it is, it is a failed read
                failures.append(error)
            reads[number] += 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield failures
    finally:
        before = sum(reads)
        wait_until(lambda: sum(reads) > before + 200, "reads go on")
        stop.set()
        for thread in threads:
            thread.join()


def test_a_schema_change_on_its_way_through_the_nodes_costs_no_read(settings: Settings) -> None:
    table = f"{settings.cassandra_keyspace}.beacons"
    with readers() as failures:
        for number in range(3):
            connection.execute(f"ALTER TABLE {table} ADD extra{number} text")
        for number in range(3):
            connection.execute(f"ALTER TABLE {table} DROP extra{number}")
    assert failures == []


def test_a_killed_node_costs_no_read(three_nodes: Cluster) -> None:
    with readers() as failures:
        three_nodes.kill(2)
        read_all()
        three_nodes.start(2)
        read_all()
    assert failures == []


def test_a_frozen_node_costs_no_read(three_nodes: Cluster) -> None:
    with readers() as failures:
        three_nodes.freeze(3)
        end_s = time.monotonic() + 12  # longer than the heartbeat needs to find out
        while time.monotonic() < end_s:
            read_all()
        three_nodes.thaw(3)
        read_all()
    assert failures == []


def test_a_conditional_write_is_settled_by_sending_it_again_while_a_node_is_frozen(three_nodes: Cluster) -> None:
    three_nodes.freeze(1)
    for key in KEYS:
        version = Beacon.objects(beacon_id=key).first().version
        settle(key, version)
    for key in KEYS:
        assert Beacon.objects(beacon_id=key).first().version is not None


def settle(key: Any, version: int) -> None:
    """Send one guarded write until its outcome is known."""
    unknown = 0
    while True:
        try:
            Beacon.objects(beacon_id=key).iff(version=version).update(version=version + 1)
        except OutcomeUnknown:
            unknown += 1
            assert unknown < 5
        except LWTException:
            assert unknown, "nobody else writes this row"
            assert Beacon.objects(beacon_id=key).first().version == version + 1
            return
        else:
            return


def test_a_node_that_is_away_is_named_and_found_again(three_nodes: Cluster, database: Database) -> None:
    three_nodes.kill(2)
    address = three_nodes.node(2).address
    wait_until(lambda: address in " ".join(database.health().warnings), "the dead node is named")
    three_nodes.start(2)
    wait_until(lambda: database.health().warnings == [], "the node is found again")


@pytest.fixture(scope="module")
def client(settings: Settings, database: Database) -> Any:
    return create_app(settings, database).test_client()


@pytest.fixture(scope="module")
def shop(client: Any) -> dict[str, str]:
    """A product with stock, and a user."""
    product = client.post("/products", json={"sku": uuid4().hex, "name": "Mouse", "price": 1}).json["product_id"]
    assert client.post("/stocks", json={"product_id": product, "quantity": 100}).status_code == 201
    user = client.post("/users", json={"name": "Jane", "email": f"{uuid4().hex}@example.ca"}).json["user_id"]
    return {"product": product, "user": user}


def order(client: Any, shop: dict[str, str]) -> Any:
    lines = [{"product_id": shop["product"], "quantity": 1}]
    return client.post("/orders", json={"user_id": shop["user"], "items": lines})


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


def test_every_node_does_its_share_and_each_answer_names_its_coordinator(
    client: Any, shop: dict[str, str], three_nodes: Cluster
) -> None:
    def read() -> str:
        return str(client.get(f"/products/{shop['product']}").headers["Coordinator-Node"])

    def all_are_asked() -> bool:  # one that was silent is spared for a while
        return {read() for _ in range(12)} == set(three_nodes.addresses)

    wait_until(all_are_asked, "every node is asked")
    named = Counter(read() for _ in range(60))
    assert set(named) == set(three_nodes.addresses)
    assert min(named.values()) >= 6
    work = [(node.reads or 0, node.writes or 0) for node in three_nodes.status()]
    assert min(reads for reads, _ in work) > 0, "each has read its copy"
    assert min(writes for _, writes in work) > 0, "and written it"


TOO_FEW = {"replicas_required": 2, "replicas_alive": 1}


def parts(database: Database) -> tuple[Part, Part]:
    """Which parts of the rows can be read and written."""
    reach = database.reach()
    return reach.reading, reach.writing


def test_what_goes_on_while_one_node_and_then_two_are_away_and_the_service_comes_back_by_itself(
    client: Any,
    shop: dict[str, str],
    three_nodes: Cluster,
    settings: Settings,
    database: Database,
    thinner: dict[int, Database],
) -> None:
    product, stock = f"/products/{shop['product']}", f"/stocks/{shop['product']}"
    three_nodes.kill(2)
    wait_until(lambda: database.reach().writing is Part.ALL and not database.health().nodes[1].up, "one is away")
    assert order(client, shop).status_code == 201
    assert client.get(stock).headers["Consistency-Level"] == "LOCAL_QUORUM"
    refused = client.get(product, headers={"Consistency-Level": "ALL"})
    assert (refused.status_code, refused.json["code"]) == (503, "DATABASE_UNAVAILABLE")
    assert (refused.json["replicas_required"], refused.json["replicas_alive"]) == (3, 2)
    wait_until(lambda: parts(thinner[1]) == (Part.SOME, Part.SOME), "with one copy, a third of the rows is away")
    wait_until(lambda: parts(thinner[2]) == (Part.ALL, Part.SOME), "with two, two thirds can't be written")

    three_nodes.kill(1)
    wait_until(lambda: client.get("/readyz").json["writes"] == "none", "it is known that nothing can be written")
    ready = client.get("/readyz")
    assert (ready.status_code, ready.json["status"], ready.json["reads"]) == (200, "degraded", "all")
    assert any(reason.startswith("Orders and users can't be read") for reason in ready.json["reasons"])
    for path in (product, stock, "/products", "/stocks", "/stocks/reports/overview-stocks"):
        read = client.get(path)
        assert (read.status_code, read.headers["Possibly-Stale"]) == (200, "true"), path
        assert read.headers["Consistency-Level"] == "LOCAL_ONE"
    strict: Any = create_app(replace(settings, cassandra_stale_reads=False), database).test_client()
    for refused in (order(client, shop), client.put(stock, json={"quantity": 5}), strict.get(product)):
        assert refused.status_code == 503
        assert {name: refused.json[name] for name in TOO_FEW} == TOO_FEW
    with deadline(10), pytest.raises((DatabaseUnavailable, OutcomeUnknown)):
        Beacon.objects(beacon_id=KEYS[0]).iff(version=-1).update(version=0)

    three_nodes.start(1)
    wait_until(lambda: order(client, shop).status_code == 201, "orders are placed again")
    wait_until(lambda: "Possibly-Stale" not in client.get(product).headers, "reads are whole again")


def test_with_the_only_node_away_the_database_is_unavailable_until_it_is_back() -> None:
    with lab_cluster("test-one", 1, "127.0.10") as cluster:
        database = open_database(settings_for(Place(tuple(cluster.addresses)), replicas=1))
        try:
            statement = 'SELECT "keyspace_name" FROM system_schema.keyspaces'
            assert list(database.session.execute(statement))
            cluster.kill(1)
            with pytest.raises(DatabaseUnavailable):
                database.session.execute(statement)
            cluster.start(1)

            def answers() -> bool:
                try:
                    return bool(list(database.session.execute(statement)))
                except DatabaseUnavailable:
                    return False

            wait_until(answers, "the node is found again")
        finally:
            database.close()
