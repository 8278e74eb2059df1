"""The lab on real nodes: what its verbs promise, and that nothing of it outlives its owner."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from cassandra import ConsistencyLevel, OperationTimedOut
from cassandra.cluster import EXEC_PROFILE_DEFAULT, ExecutionProfile, NoHostAvailable, Session
from cassandra.cluster import Cluster as Driver
from cassandra.policies import WhiteListRoundRobinPolicy
from cassandra.query import SimpleStatement

from store_manager.lab import processes
from store_manager.lab.clusters import Cluster
from store_manager.lab.faults import AlreadyRunning

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parent.parent.parent
JARS = ROOT / ".lab" / "jars"
NETWORK, OWNED_NETWORK = "127.0.71", "127.0.72"
HEAP_MB = 256
PATIENCE_S = 120
OWNER = """
import sys
from pathlib import Path
from store_manager.lab.clusters import Cluster
home, jars = map(Path, sys.argv[1:3])
cluster = Cluster(home, 1, network={network!r}, heap_mb={heap_mb}, owned=True, jar_directory=jars)
{act}
"""


@pytest.fixture(scope="module")
def one_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A node in a directory whose name has a space."""
    cluster = _one_node(tmp_path_factory.mktemp("a home"), NETWORK)
    cluster.up()
    yield cluster
    cluster.down()
    assert not _processes_under(cluster.home)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A directory of which no process is left, even when the test finds one."""
    yield tmp_path
    for process in _processes_under(tmp_path):
        process.kill()


def _one_node(home: Path, network: str) -> Cluster:
    return Cluster(home, 1, network=network, heap_mb=HEAP_MB, owned=True, jar_directory=JARS)


@contextmanager
def _session(address: str, timeout_s: float = 10) -> Iterator[Session]:
    """A session that talks to this node only."""
    profile = ExecutionProfile(WhiteListRoundRobinPolicy([address]), request_timeout=timeout_s)
    driver = Driver(
        [address], execution_profiles={EXEC_PROFILE_DEFAULT: profile}, protocol_version=5, connect_timeout=timeout_s
    )
    try:
        yield driver.connect()
    finally:
        driver.shutdown()


def _states(cluster: Cluster) -> list[tuple[str, str]]:
    return [(node.process, node.gossip) for node in cluster.status()]


def _processes_under(directory: Path) -> list[psutil.Process]:
    """Every process that names this directory: nodes, and what starts or guards them."""
    found = (process for process in psutil.process_iter(["cmdline"]) if process.pid != os.getpid())
    return [process for process in found if any(str(directory) in part for part in process.info["cmdline"] or ())]


def _eventually(holds: Callable[[], Any]) -> bool:
    deadline = time.monotonic() + PATIENCE_S
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.1)
    return bool(holds())


def test_a_node_that_is_up_answers_cql_and_says_how_it_is(one_node: Cluster) -> None:
    (node,) = one_node.status()
    assert (node.process, node.gossip, node.owns) == ("running", "UN", 1.0)
    with _session(node.address) as session:
        local = session.execute("SELECT * FROM system.local").one()
        settings = session.execute("SELECT name, value FROM system_views.settings")
        found = {row.name: row.value for row in settings}
    assert (local.release_version, local.data_center) == ("4.1.10", "dc1")
    assert str(local.schema_version) == node.schema_version
    assert (found["commitlog_sync"], found["paxos_variant"]) == ("batch", "v2")


def test_a_second_up_is_refused_and_changes_nothing(one_node: Cluster) -> None:
    (before,) = one_node.status()
    with pytest.raises(AlreadyRunning, match=before.address):
        _one_node(one_node.home, NETWORK).up()
    with pytest.raises(AlreadyRunning):
        one_node.start(1)
    with pytest.raises(AlreadyRunning):
        one_node.destroy()
    (after,) = one_node.status()
    assert (after.pid, after.process) == (before.pid, "running")


def test_a_frozen_node_answers_nobody_until_it_is_thawed(one_node: Cluster) -> None:
    address = one_node.addresses[0]
    with _session(address, timeout_s=1) as session:
        one_node.freeze(1)
        try:
            assert _states(one_node) == [("frozen", "?")]
            with pytest.raises((OperationTimedOut, NoHostAvailable)):
                session.execute("SELECT * FROM system.local")
        finally:
            one_node.thaw(1)
    assert _states(one_node) == [("running", "UN")]
    with _session(address) as session:
        assert session.execute("SELECT * FROM system.local").one()


def test_a_stopped_node_is_gone_with_its_ports_and_starts_again(one_node: Cluster) -> None:
    one_node.stop(1)
    assert _states(one_node) == [("stopped", "?")]
    assert not _processes_under(one_node.directory)
    one_node.start(1)
    assert _states(one_node) == [("running", "UN")]


def test_what_was_acknowledged_is_there_after_kill_9(one_node: Cluster) -> None:
    keyspace = f"kept_{uuid.uuid4().hex[:12]}"
    with _session(one_node.addresses[0]) as session:
        session.execute(
            f"CREATE KEYSPACE {keyspace} WITH replication = {{'class': 'NetworkTopologyStrategy', 'dc1': 1}}"
        )
        session.execute(f"CREATE TABLE {keyspace}.numbers (number int PRIMARY KEY)")
        insert = session.prepare(f"INSERT INTO {keyspace}.numbers (number) VALUES (?) IF NOT EXISTS")
        for number in range(50):
            session.execute(insert, [number])
        one_node.kill(1)
    assert _states(one_node) == [("stopped", "?")]
    one_node.start(1)
    with _session(one_node.addresses[0]) as session:
        assert {row.number for row in session.execute(f"SELECT number FROM {keyspace}.numbers")} == set(range(50))


def test_a_node_killed_while_a_compaction_was_cleaning_up_starts_again(one_node: Cluster) -> None:
    one_node.stop(1)
    table = next((one_node.nodes[0].directory / "data" / "system").glob("local-*"))
    data = next(table.glob("*-Data.db"))
    name = data.name.removesuffix("Data.db")
    # As Cassandra leaves it: the transaction is committed, and of the old table only its oldest file is still there.
    (table / "nb-9999-big-Summary.db").write_bytes((table / f"{name}Summary.db").read_bytes())
    (table / "nb_txn_compaction_384810e0-e682-11f1-bbb7-3d9bb5098ad0.log").write_text(
        _transaction(table / "nb-9999-big-"), encoding="utf-8"
    )
    one_node.start(1)
    assert _states(one_node) == [("running", "UN")]


def _transaction(removed: Path) -> str:
    updated_ms, files = 1000, 8
    checksum = zlib.crc32(f"{removed}REMOVE".encode())
    for number in (updated_ms, 0, files):
        checksum = zlib.crc32(number.to_bytes(4, "big"), checksum)
    committed = zlib.crc32(b"COMMIT" + bytes(12))
    return f"REMOVE:[{removed},{updated_ms},{files}][{checksum}]\nCOMMIT:[,0,0][{committed}]\n"


def test_no_node_outlives_an_owner_that_is_killed(home: Path) -> None:
    owner = _start_owner(home, "cluster.up(); print('up', flush=True); sys.stdin.read()")
    assert owner.stdout is not None
    assert owner.stdout.readline() == "up\n"
    assert len(_processes_under(home / "store")) == 1
    owner.kill()
    owner.communicate()
    assert _eventually(lambda: not _processes_under(home))


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_up_that_is_interrupted_leaves_nothing_running(home: Path, ending: signal.Signals) -> None:
    owner = _start_owner(home, "cluster.up()")
    assert _eventually((home / "store" / "node1" / "process.json").exists)
    owner.send_signal(ending)
    owner.communicate()
    assert owner.returncode != 0
    assert _eventually(lambda: not _processes_under(home))


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_detached_up_that_is_interrupted_leaves_nothing_running(home: Path, ending: signal.Signals) -> None:
    (home / "jars").symlink_to(JARS)
    arguments = [
        "lab",
        "--home",
        str(home),
        "up",
        "--nodes",
        "1",
        "--network",
        OWNED_NETWORK,
        "--heap-mb",
        str(HEAP_MB),
    ]
    script = "import sys; from store_manager.cli import main; main(sys.argv[1:])"
    command = subprocess.Popen([sys.executable, "-c", script, *arguments], stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert _eventually((home / "store" / "node1" / "process.json").exists)
    command.send_signal(ending)
    command.communicate()
    assert command.returncode != 0
    assert _eventually(lambda: not _processes_under(home))


def test_a_cluster_whose_first_start_was_cut_short_comes_up(home: Path) -> None:
    owner = _start_owner(home, "cluster.up()")
    assert _eventually((home / "store" / "node1" / "data" / "system").exists)
    owner.kill()
    owner.communicate()
    assert _eventually(lambda: not _processes_under(home))
    cluster = _one_node(home, OWNED_NETWORK)
    try:
        cluster.up()
        assert _states(cluster) == [("running", "UN")]
    finally:
        cluster.down()


def _start_owner(home: Path, act: str) -> subprocess.Popen[str]:
    script = OWNER.format(network=OWNED_NETWORK, heap_mb=HEAP_MB, act=act)
    command = [sys.executable, "-c", script, str(home), str(JARS)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, cwd=ROOT)


def test_up_means_that_every_node_reaches_every_other(three_nodes: Cluster) -> None:
    # Asked at once, and of each: only a coordinator that sees all three as alive can ask all three.
    for address in three_nodes.addresses:
        _read_from_all(address)
    found = three_nodes.status()
    assert [(node.process, node.gossip) for node in found] == [("running", "UN")] * 3
    assert len({node.schema_version for node in found}) == 1
    assert [round(node.owns or 0, 3) for node in found] == [0.333] * 3


def test_a_node_that_stops_and_starts_is_seen_by_the_others(three_nodes: Cluster) -> None:
    three_nodes.stop(2)
    # The others may still pass on a heartbeat of the last moment.
    assert _eventually(lambda: _states(three_nodes) == [("running", "UN"), ("stopped", "DN"), ("running", "UN")])
    three_nodes.start(2)
    assert _states(three_nodes) == [("running", "UN")] * 3
    for address in three_nodes.addresses:
        _read_from_all(address)


def test_a_frozen_node_is_down_for_the_others(three_nodes: Cluster) -> None:
    three_nodes.freeze(3)
    try:
        assert _eventually(lambda: _states(three_nodes) == [("running", "UN"), ("running", "UN"), ("frozen", "DN")])
    finally:
        three_nodes.thaw(3)
    assert _eventually(lambda: _states(three_nodes) == [("running", "UN")] * 3)


def test_a_killed_node_starts_again_beside_the_others(three_nodes: Cluster) -> None:
    three_nodes.kill(1)
    assert _eventually(lambda: _states(three_nodes)[0] == ("stopped", "DN"))
    three_nodes.start(1)
    assert _states(three_nodes) == [("running", "UN")] * 3
    _read_from_all(three_nodes.addresses[0])


def test_a_node_started_by_another_command_still_dies_with_the_owner(home: Path) -> None:
    owner = _start_owner(home, "cluster.up(); print('up', flush=True); sys.stdin.read()")
    assert owner.stdout is not None
    assert owner.stdout.readline() == "up\n"
    other = Cluster.load(home)
    other.jar_directory = JARS
    other.stop(1)
    other.start(1)
    node = other.process(other.nodes[0])
    assert node is not None
    owner.kill()
    owner.communicate()
    assert _eventually(lambda: not processes.is_alive(node))
    assert _eventually(lambda: not _processes_under(home))


def _read_from_all(address: str) -> None:
    everywhere = SimpleStatement(
        "SELECT * FROM system_distributed.view_build_status", consistency_level=ConsistencyLevel.ALL
    )
    with _session(address) as session:
        session.execute(everywhere)
