"""What a cluster refuses before it starts anything, and what its commands say."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from store_manager.cli import main
from store_manager.lab import clusters, jars, processes
from store_manager.lab.clusters import Cluster
from store_manager.lab.faults import LabError

if TYPE_CHECKING:
    from pathlib import Path

NETWORK = "127.0.77"


@pytest.fixture(autouse=True)
def _nothing_is_brought_or_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jars, "bring", lambda _: pytest.fail("jars were brought"))
    monkeypatch.setattr(processes, "spawn", lambda *_: pytest.fail("a process was started"))


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(tmp_path, 2, network=NETWORK)


def _was_up(cluster: Cluster) -> None:
    cluster.directory.mkdir()
    shape = {"nodes": cluster.node_count, "network": NETWORK, "heap_mb": 256, "owner_pid": None}
    (cluster.directory / "cluster.json").write_text(json.dumps(shape), encoding="utf-8")


def test_too_little_memory_is_told_with_what_is_needed_and_free(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=100 * 2**20))
    with pytest.raises(LabError, match=r"2 node\(s\): about 1824 MB are needed, 100 MB are free"):
        cluster.up()


def test_a_full_disk_is_told_with_what_is_needed_and_free(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=100 * 2**20))
    with pytest.raises(LabError, match=r"too full for 2 node\(s\): 800 MB are needed, 100 MB are free; make room"):
        cluster.up()


def test_a_home_that_can_not_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LabError, match=r"file/store can't be used \(not a directory\): correct that, or name another"):
        Cluster(tmp_path / "file", 1, network=NETWORK).up()


def test_a_disk_that_fills_up_while_nodes_start_is_told(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill_up(_: Cluster, __: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Cluster, "_prepare", fill_up)
    with pytest.raises(LabError, match=f"The disk of {cluster.home} is full: make room"):
        cluster.up()


@pytest.mark.parametrize(("node", "endpoint"), [(0, 0), (1, 1), (1, 2)])
def test_any_port_in_use_is_told(cluster: Cluster, node: int, endpoint: int) -> None:
    address, port = cluster.nodes[node].endpoints[endpoint]
    with socket.create_server((address, port)), pytest.raises(LabError, match=f"{address}:{port} is in use"):
        cluster.up()


def test_data_of_another_shape_are_not_started(cluster: Cluster) -> None:
    _was_up(cluster)
    for other in (Cluster(cluster.home, 3, network=NETWORK), Cluster(cluster.home, 2, network="127.0.78")):
        with pytest.raises(LabError, match=r"holds the data of another cluster \(127\.0\.77\.1, 127\.0\.77\.2\)"):
            other.up()


def test_two_commands_do_not_work_on_one_cluster_at_a_time(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusters, "LOCK_TIMEOUT_S", 0)
    cluster.directory.mkdir()
    with (cluster.directory / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(LabError, match="Another command is at work"):
            cluster.up()


def test_a_cluster_is_found_again_with_its_shape(cluster: Cluster) -> None:
    _was_up(cluster)
    assert Cluster.load(cluster.home).nodes == Cluster(cluster.home, 2, network=NETWORK, heap_mb=256).nodes


def test_a_damaged_cluster_file_is_told_with_what_to_do(cluster: Cluster) -> None:
    _was_up(cluster)
    (cluster.directory / "cluster.json").write_text("{", encoding="utf-8")
    with pytest.raises(LabError, match=f"is damaged: remove {cluster.directory}"):
        Cluster.load(cluster.home)


def test_destroying_removes_the_data_and_keeps_the_jars(cluster: Cluster) -> None:
    _was_up(cluster)
    (cluster.home / "jars").mkdir()
    with pytest.raises(LabError, match="another cluster"):
        Cluster(cluster.home, 1, network=NETWORK).destroy()
    cluster.destroy()
    assert [path.name for path in cluster.home.iterdir()] == ["jars"]
    cluster.destroy()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["status"], "There is no cluster in"),
        (["down"], "There is no cluster in"),
        (["up", "--network", "10.0.0"], "The lab's network is one of 127.0.0 to 127.0.255, not 10.0.0."),
    ],
)
def test_a_command_that_fails_says_one_sentence_and_ends_with_1(
    tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    result = CliRunner().invoke(main, ["lab", "--home", str(tmp_path), *arguments])
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {sentence}")
    assert result.stdout == ""


@pytest.mark.parametrize("verb", ["stop", "kill", "freeze", "thaw"])
def test_verbs_on_a_stopped_or_unknown_node_are_refused(cluster: Cluster, verb: str) -> None:
    _was_up(cluster)
    stopped = CliRunner().invoke(main, ["lab", "--home", str(cluster.home), verb, "1"])
    assert (stopped.exit_code, stopped.stderr) == (1, "Error: Node 1 (127.0.77.1) is not running.\n")
    unknown = CliRunner().invoke(main, ["lab", "--home", str(cluster.home), verb, "3"])
    assert (unknown.exit_code, unknown.stderr) == (
        1,
        "Error: There is no node 3: this cluster has 2, counted from 1.\n",
    )


def test_status_tells_machines_and_people_that_nodes_are_stopped(cluster: Cluster) -> None:
    _was_up(cluster)
    told = CliRunner().invoke(main, ["lab", "--home", str(cluster.home), "status", "--json"])
    assert [(node["address"], node["process"]) for node in json.loads(told.stdout)] == [
        ("127.0.77.1", "stopped"),
        ("127.0.77.2", "stopped"),
    ]
    assert CliRunner().invoke(main, ["lab", "--home", str(cluster.home), "status"]).stdout.count("stopped") == 2


def _was_joined(cluster: Cluster, *tokens: int) -> None:
    shape = json.loads((cluster.directory / "cluster.json").read_text(encoding="utf-8"))
    (cluster.directory / "cluster.json").write_text(json.dumps(shape | {"joined": tokens}), encoding="utf-8")


def test_a_shell_is_told_how_the_nodes_are_reached(cluster: Cluster) -> None:
    _was_up(cluster)
    told = CliRunner().invoke(main, ["lab", "--home", str(cluster.home), "settings"])
    assert told.stdout.splitlines() == [
        f"export CASSANDRA_HOSTS={','.join(cluster.addresses)}",
        f"export CASSANDRA_JMX_HOSTS={','.join(cluster.management_hosts)}",
    ]


def test_nodes_that_joined_belong_to_the_cluster_whoever_asks(cluster: Cluster) -> None:
    _was_up(cluster)
    _was_joined(cluster, 5, 7)
    joined = [(node.address, node.initial_token, node.joining) for node in cluster.nodes[2:]]
    assert joined == [("127.0.77.3", 5, True), ("127.0.77.4", 7, True)]
    assert Cluster.load(cluster.home).addresses == cluster.addresses


def test_as_many_first_nodes_as_founded_and_joined_are_another_cluster(cluster: Cluster) -> None:
    _was_up(cluster)
    _was_joined(cluster, 5)
    other = Cluster(cluster.home, 3, network=NETWORK)
    with pytest.raises(LabError, match="holds the data of another cluster"):
        other.up()


def test_no_node_joins_while_another_one_is_away(cluster: Cluster) -> None:
    _was_up(cluster)
    with pytest.raises(LabError, match=r"only while all others run, for it streams from them: 127\.0\.77\.1, 127"):
        cluster.join()
    assert len(cluster.nodes) == 2


def test_a_tenth_node_is_refused(tmp_path: Path) -> None:
    full = Cluster(tmp_path, 9, network=NETWORK)
    _was_up(full)
    with pytest.raises(LabError, match="at most 9 nodes"):
        full.join()


def test_without_root_a_cut_is_refused_in_one_sentence(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    _was_up(cluster)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    for arguments in (["cut", "2"], ["beside", "2", "true"]):
        result = CliRunner().invoke(main, ["lab", "--home", str(cluster.home), *arguments])
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr.startswith("Error: A c")
        assert result.stderr.endswith(" here: only root can change the packet filter.\n")


def test_healing_what_is_not_cut_is_no_error(cluster: Cluster) -> None:
    _was_up(cluster)
    result = CliRunner().invoke(main, ["lab", "--home", str(cluster.home), "heal"])
    assert (result.exit_code, result.stderr) == (0, "The cluster is not cut.\n")
