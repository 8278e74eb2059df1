"""Cutting a cluster in two: what is refused, and which rules are made and removed."""

from __future__ import annotations

import shutil
import subprocess
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from store_manager.lab import cuts
from store_manager.lab.faults import LabError
from store_manager.lab.nodes import first_nodes

if TYPE_CHECKING:
    from pathlib import Path

    from store_manager.lab.nodes import Node

NETWORK = "127.0.7"


class PacketFilter:
    """Answers as iptables and iptables-restore do, and knows nothing but the rules of OUTPUT."""

    def __init__(self) -> None:
        self.rules = ['-A OUTPUT -d 10.0.0.1/32 -m comment --comment "of somebody else" -j DROP']
        self.refuses = False

    def run(self, command: list[str], **options: Any) -> SimpleNamespace:
        if self.refuses:
            raise subprocess.CalledProcessError(4, command, stderr="Permission denied\n")
        if command[0] == "iptables":
            return SimpleNamespace(stdout="\n".join(["-P OUTPUT ACCEPT", *self.rules, ""]))
        for line in options["input"].splitlines():
            if line.startswith("-A"):
                self.rules.append(line)
            elif line.startswith("-D"):
                self.rules.remove(line.replace("-D", "-A", 1))
        return SimpleNamespace(stdout="")


@pytest.fixture
def packet_filter(monkeypatch: pytest.MonkeyPatch) -> PacketFilter:
    own = PacketFilter()
    monkeypatch.setattr(cuts, "lacks", lambda: None)
    monkeypatch.setattr(subprocess, "run", own.run)
    return own


@pytest.fixture
def nodes(tmp_path: Path) -> list[Node]:
    return first_nodes(tmp_path, 3, NETWORK, "store", heap_mb=256)


@pytest.mark.parametrize(
    ("text", "sides"),
    [("3", ((3,), (1, 2))), ("1,2", ((1, 2), (3,))), ("1,2/3", ((1, 2), (3,))), ("2/3,1", ((2,), (3, 1)))],
)
def test_a_cut_names_one_side_or_both(text: str, sides: object) -> None:
    assert cuts.parse_sides(text, [1, 2, 3]) == sides


@pytest.mark.parametrize("text", ["4", "1/2", "1,2/2,3", "1,2,3", "1/4", "1,1/2,3"])
def test_a_cut_with_an_empty_side_or_nodes_that_are_missing_unknown_or_doubled_is_refused(text: str) -> None:
    with pytest.raises(LabError, match=f"The cut {text} must leave .* of: 1, 2, 3"):
        cuts.parse_sides(text, [1, 2, 3])


@pytest.mark.parametrize("text", ["", "a", "1//2", "1,/2", "1/2/3", "-1"])
def test_a_cut_that_is_not_written_as_one_is_refused(text: str) -> None:
    with pytest.raises(LabError, match="A cut is written as 3 or as 1,2/3"):
        cuts.parse_sides(text, [1, 2, 3])


def test_a_cut_drops_what_either_side_sends_to_the_other_and_nothing_within_a_side(
    packet_filter: PacketFilter, nodes: list[Node]
) -> None:
    cuts.make(NETWORK, nodes[:2], nodes[2:])
    _, *rules = packet_filter.rules
    sent = {(f"-d {to.address}/32", f"--gid-owner {by.group} ") for by in nodes for to in nodes if by != to}
    within = {(f"-d {nodes[0].address}/32", f"--gid-owner {nodes[1].group} ")}
    within |= {(f"-d {nodes[1].address}/32", f"--gid-owner {nodes[0].group} ")}
    dropped = {pair for pair in sent for rule in rules if all(part in rule for part in pair)}
    assert dropped == sent - within
    assert len(rules) == 4 * len(cuts.PORTS)
    assert all("--dport 7000 " in rule or "--dport 9042 " in rule for rule in rules), "answers to callers are dropped"
    assert cuts.find(NETWORK) == "1,2/3"


def test_another_cut_takes_the_place_of_an_earlier_one(packet_filter: PacketFilter, nodes: list[Node]) -> None:
    cuts.make(NETWORK, nodes[:2], nodes[2:])
    cuts.make(NETWORK, nodes[:1], nodes[1:])
    assert cuts.find(NETWORK) == "1/2,3"
    assert len(packet_filter.rules) == 1 + 4 * len(cuts.PORTS)


def test_healing_removes_the_rules_of_this_network_and_no_other(packet_filter: PacketFilter, nodes: list[Node]) -> None:
    foreign, *_ = packet_filter.rules
    cuts.make(f"{NETWORK}1", nodes[:1], nodes[1:])
    others = list(packet_filter.rules)
    cuts.make(NETWORK, nodes[:2], nodes[2:])
    assert cuts.remove(NETWORK)
    assert packet_filter.rules == others
    assert not cuts.remove(NETWORK)
    assert cuts.remove(f"{NETWORK}1")
    assert packet_filter.rules == [foreign]


def test_what_the_packet_filter_refuses_is_told(packet_filter: PacketFilter, nodes: list[Node]) -> None:
    packet_filter.refuses = True
    with pytest.raises(LabError, match=r"can't be changed: Permission denied\.$"):
        cuts.make(NETWORK, nodes[:2], nodes[2:])


def test_without_root_nothing_is_cut_and_it_is_said_why(monkeypatch: pytest.MonkeyPatch, nodes: list[Node]) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(
        LabError, match=r"^A cluster can't be cut in two here: only root can change the packet filter\.$"
    ):
        cuts.make(NETWORK, nodes[:2], nodes[2:])
    assert cuts.find(NETWORK) is None
    assert not cuts.remove(NETWORK)


def test_without_iptables_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert cuts.lacks() == "iptables and iptables-restore can't be found (on Debian: apt-get install iptables)"
