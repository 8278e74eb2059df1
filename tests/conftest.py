"""What all tests share: one Cassandra for each worker, one keyspace on it, and the connection of this process.

`--cassandra=container|embedded|HOST[:PORT]` says where Cassandra comes from. With three nodes, `--replicas=3` and each
of them in turn as HOST, the same tests pass. Helpers for the tests of one area stand beside them, not here.
"""

from __future__ import annotations

import os
import signal
import uuid
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import containers
import pytest
import structlog
from xdist.scheduler import LoadScopeScheduling

from store_manager.dao import REHEARSALS
from store_manager.database.connections import Database, connect, open_database, prepare_all
from store_manager.lab.clusters import Cluster
from store_manager.schema.syncs import sync
from store_manager.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

LAB = Path(__file__).parent.parent / ".lab"
ONE_NODE, THREE_NODES = ("127.0.8", "127.0.18"), ("127.0.9", "127.0.19")
"""The networks of each worker's nodes, for as many workers as `make test` has."""


@dataclass(frozen=True)
class Place:
    """Where Cassandra answers CQL."""

    hosts: tuple[str, ...]
    port: int = 9042


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--cassandra",
        metavar="container|embedded|HOST[:PORT]",
        help="the Cassandra of the run; by default a container if an engine has the image, else an embedded node",
    )
    parser.addoption("--replicas", type=int, default=1, help="how many copies of each row; 3 for a HOST of three nodes")


class ByFolder(LoadScopeScheduling):  # type: ignore[misc]
    """Gives each folder of tests to one worker, so that each cluster is started once and nothing is met twice.

    The tests in a browser watch the same three nodes as those of the cluster.
    """

    def _split_scope(self, nodeid: str) -> str:
        folder = Path(nodeid.partition("::")[0]).parent
        return str(folder.with_name("cluster") if folder.name == "browser" else folder)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    return ByFolder(config, log)


@pytest.fixture(scope="session")
def worker() -> int:
    """The number of this worker process, from 0 on."""
    return int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))


@pytest.fixture(scope="session", autouse=True)
def _signals_are_heard() -> None:
    """Let what tests start hear every signal: in the background of a script SIGINT is ignored, under nohup SIGHUP."""
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


@pytest.fixture(autouse=True)
def _logs_as_they_were() -> Iterator[None]:
    """Undo what a verb of the command line says about the logs of this process."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@pytest.fixture(scope="session")
def cassandra(request: pytest.FixtureRequest, worker: int) -> Iterator[Place]:
    """One node for all tests of a worker."""
    chosen = request.config.getoption("--cassandra")
    chosen = chosen or ("container" if containers.engine_has_image() else "embedded")
    if chosen == "container":
        with containers.start_container() as (host, port):
            yield Place((host,), port)
    elif chosen == "embedded":
        with lab_cluster(f"test-{worker}", 1, ONE_NODE[worker]) as cluster:
            yield Place(tuple(cluster.addresses))
    else:
        host, _, port_text = chosen.partition(":")
        yield Place((host,), int(port_text or 9042))


@pytest.fixture(scope="session")
def three_nodes(worker: int) -> Iterator[Cluster]:
    """Three nodes for the tests that need them, whatever `--cassandra` says."""
    with lab_cluster(f"test-three-{worker}", 3, THREE_NODES[worker]) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def three_settings(three_nodes: Cluster) -> Settings:
    """The settings of a keyspace on the three nodes that has all tables, made once: each takes them a second."""
    settings = settings_for(Place(tuple(three_nodes.addresses)), replicas=3)
    database = open_database(settings)
    try:
        sync(database, settings)
    finally:
        database.close()
    return settings


@contextmanager
def lab_cluster(name: str, nodes: int, network: str) -> Iterator[Cluster]:
    """A cluster of processes that has no past, and of which nothing is left afterwards."""
    cluster = Cluster(LAB, nodes, name=name, network=network, owned=True)
    cluster.destroy()
    cluster.up()
    try:
        yield cluster
    finally:
        cluster.down()
        cluster.destroy()


@pytest.fixture(scope="session")
def settings(request: pytest.FixtureRequest, cassandra: Place) -> Settings:
    """The settings of this run: its Cassandra, a keyspace of its own."""
    return settings_for(cassandra, replicas=request.config.getoption("--replicas"))


def settings_for(place: Place, replicas: int) -> Settings:
    """Return settings for a keyspace that nobody has used before, patient where others keep the machine busy."""
    return Settings(
        cassandra_hosts=place.hosts,
        cassandra_port=place.port,
        cassandra_keyspace=f"test_{uuid.uuid4().hex[:12]}",
        cassandra_replication_factor=replicas,
        cassandra_read_timeout_s=5,
        cassandra_write_timeout_s=5,
        cassandra_conditional_timeout_s=5,
    )


@pytest.fixture(scope="session")
def database(settings: Settings) -> Iterator[Database]:
    """The connection of this process, in a keyspace with all tables and every statement prepared."""
    with store_keyspace(settings) as database:
        yield database


@contextmanager
def store_keyspace(settings: Settings, *, kept: bool = False) -> Iterator[Database]:
    """Connect the Models to a new keyspace with all tables; drop it at the end, unless its cluster goes as a whole."""
    database = connect(settings)
    try:
        sync(database, settings)
        prepare_all(REHEARSALS)
        yield database
    finally:
        if not kept:
            database.raw.execute(f"DROP KEYSPACE IF EXISTS {settings.cassandra_keyspace}")
        database.close()


def with_hosts(settings: Settings, *hosts: str) -> Settings:
    """Return the same settings with other contact points."""
    return replace(settings, cassandra_hosts=hosts)
