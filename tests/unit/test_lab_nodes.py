"""What the lab writes for a node, and how it calls it."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from store_manager.lab.clusters import Cluster
from store_manager.lab.faults import LabError
from store_manager.lab.nodes import SHORTCUTS, Node, first_nodes, joining_node
from store_manager.rings import RING_SIZE

JARS = [Path("/jars/jamm-0.3.2.jar"), Path("/jars/cassandra-all-4.1.10.jar")]


def _nodes(directory: Path, count: int = 3, network: str = "127.0.7") -> list[Node]:
    return first_nodes(directory, count, network, "store", heap_mb=256)


def _settings(node: Node) -> dict[str, object]:
    node.write_files()
    settings: dict[str, object] = json.loads((node.directory / "conf" / "cassandra.yaml").read_text(encoding="utf-8"))
    return settings


def test_first_nodes_share_the_ring_evenly_and_are_all_seeds(tmp_path: Path) -> None:
    nodes = _nodes(tmp_path)
    tokens = [node.initial_token for node in nodes if node.initial_token is not None]
    gaps = [after - before for before, after in pairwise(tokens)]
    assert len(tokens) == 3
    assert all(abs(gap - RING_SIZE / 3) <= 1 for gap in gaps)
    assert {node.seeds for node in nodes} == {("127.0.7.1", "127.0.7.2", "127.0.7.3")}


def test_no_two_nodes_of_any_network_share_an_endpoint(tmp_path: Path) -> None:
    nodes = [node for network in ("127.0.0", "127.0.1", "127.0.255") for node in _nodes(tmp_path, 9, network)]
    endpoints = [endpoint for node in nodes for endpoint in node.endpoints]
    assert len(set(endpoints)) == len(endpoints)


def test_what_a_node_acknowledges_is_on_disk_and_paxos_is_the_newer_one(tmp_path: Path) -> None:
    settings = _settings(_nodes(tmp_path)[0])
    assert settings["commitlog_sync"] == "batch"
    assert settings["paxos_variant"] == "v2"


def test_nodes_that_can_be_repaired_keep_what_paxos_remembers_until_they_are(tmp_path: Path) -> None:
    assert [_settings(node)["paxos_state_purging"] for node in _nodes(tmp_path)] == ["repaired"] * 3
    assert _settings(_nodes(tmp_path, 1)[0])["paxos_state_purging"] == "legacy"


def test_first_nodes_take_shortcuts_and_do_not_stream(tmp_path: Path) -> None:
    node = _nodes(tmp_path)[0]
    assert _settings(node)["auto_bootstrap"] is False
    assert set(SHORTCUTS) <= set(node.command(Path("/java"), JARS))


def test_only_nodes_that_run_for_long_compile_thoroughly(tmp_path: Path) -> None:
    quick = _nodes(tmp_path)[0]
    thorough = Cluster(tmp_path, 1, thorough=True).nodes[0]
    differing = set(quick.command(Path("/java"), JARS)) - set(thorough.command(Path("/java"), JARS))
    assert "-XX:TieredStopAtLevel=1" in differing


def test_a_joining_node_streams_its_part_and_takes_no_shortcut(tmp_path: Path) -> None:
    node = replace(_nodes(tmp_path)[0], number=4, initial_token=None, joining=True)
    settings = _settings(node)
    assert settings["auto_bootstrap"] is True
    assert "initial_token" not in settings
    assert not set(SHORTCUTS) & set(node.command(Path("/java"), JARS))


def test_a_directory_with_spaces_and_signs_is_no_obstacle(tmp_path: Path) -> None:
    node = _nodes(tmp_path / "a & b <c>")[0]
    node.write_files()
    file = ET.parse(node.directory / "conf" / "logback.xml").findtext(".//file")
    assert file == str(node.log_path)
    assert any("cassandra.yaml" in part and " " not in part for part in node.command(Path("/java"), JARS))


@pytest.mark.parametrize("count", [0, 10])
def test_an_impossible_number_of_nodes_is_refused(tmp_path: Path, count: int) -> None:
    with pytest.raises(LabError, match=f"1 to 9 nodes, not {count}"):
        _nodes(tmp_path, count)


@pytest.mark.parametrize("network", ["10.0.0", "127.0", "127.0.256", "127.0.0.1", "127.0.x"])
def test_a_network_that_is_not_loopback_is_refused(tmp_path: Path, network: str) -> None:
    with pytest.raises(LabError, match=r"127\.0\.0 to 127\.0\.255"):
        _nodes(tmp_path, network=network)


def test_last_words_are_the_end_of_the_logs(tmp_path: Path) -> None:
    node = _nodes(tmp_path)[0]
    assert "left no log" in node.last_words()
    node.write_files()
    node.log_path.write_text("".join(f"line {number}\n" for number in range(100)), encoding="utf-8")
    assert node.last_words().endswith("line 98\nline 99")
    assert "line 1\n" not in node.last_words()


def test_last_words_say_why_a_node_ended_however_long_its_stack_trace_is(tmp_path: Path) -> None:
    (node,) = first_nodes(tmp_path, 1, "127.0.0", "c", 256)
    node.write_files()
    frames = "".join(f"\tat org.apache.Some.frame({number})\n" for number in range(50))
    node.log_path.write_text(f"ERROR [main] Exception\njava.lang.Exception: full\n{frames}\t... 12 common frames\n")
    assert node.last_words().endswith("ERROR [main] Exception\njava.lang.Exception: full")


def test_a_node_that_joins_has_a_place_of_its_own_and_is_no_seed(tmp_path: Path) -> None:
    nodes = _nodes(tmp_path)
    node = joining_node(nodes[0], 4, 7)
    settings = _settings(node)
    assert (node.address, node.directory, settings["initial_token"]) == ("127.0.7.4", tmp_path / "node4", "7")
    assert settings["auto_bootstrap"] is True
    assert not set(SHORTCUTS) & set(node.command(Path("/java"), JARS))
    assert node.address not in node.seeds


def test_no_two_nodes_of_any_network_share_a_group(tmp_path: Path) -> None:
    nodes = [node for number in range(256) for node in _nodes(tmp_path, 9, f"127.0.{number}")]
    groups = {node.group for node in nodes}
    assert len(groups) == len(nodes)
    # What a user namespace maps, and below what is handed out to services.
    assert max(groups) < 61184


def test_the_shortcuts_of_the_first_nodes_do_not_let_them_forget_one_that_joins() -> None:
    delays = dict(flag.removeprefix("-Dcassandra.").split("=") for flag in SHORTCUTS)
    assert int(delays["ring_delay_ms"]) < 30_000
    assert int(delays["gossip_quarantine_delay_ms"]) >= 2 * 30_000
