"""Cutting a cluster of this machine in two, by rules of the packet filter (iptables) that only root can make.

All nodes speak from 127.0.0.1 to each other, so they are told apart by the group of the process that sends, and a rule
drops what it sends to a port of Cassandra's on the other side. What it answers to callers goes to other ports: a node
may have the very address from which all callers on this machine speak. Every rule carries a comment with the cluster's
network: whatever became of the command that made them, they can be found and removed. Nothing here knows a process or
a file.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from itertools import product
from typing import TYPE_CHECKING

from store_manager.lab.faults import LabError
from store_manager.lab.nodes import CQL_PORT, STORAGE_PORT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from store_manager.lab.nodes import Node

PORTS = (STORAGE_PORT, CQL_PORT)
TOOLS = ("iptables", "iptables-restore")
TIMEOUT_S = 10
WAIT_S = 5
"""How long a tool waits for others that change the rules."""


def lacks() -> str | None:
    """Return what this process lacks to make rules, as the end of a sentence; None if it can."""
    if os.geteuid() != 0:
        return "only root can change the packet filter"
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    return f"{' and '.join(missing)} can't be found (on Debian: apt-get install iptables)" if missing else None


def parse_sides(text: str, numbers: Iterable[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the two sides that `1,2/3` names; a single side, such as `3`, stands against all other nodes.

    Raises LabError when a side is empty, or a node is unknown, or named twice, or not at all.
    """
    known = sorted(numbers)
    if not re.fullmatch(r"\d+(,\d+)*(/\d+(,\d+)*)?", text):
        raise LabError(f"A cut is written as 3 or as 1,2/3, not {text!r}.")
    first, *rest = [tuple(int(number) for number in side.split(",")) for side in text.split("/")]
    second = rest[0] if rest else tuple(number for number in known if number not in first)
    if sorted([*first, *second]) != known or not second:
        nodes = ", ".join(map(str, known))
        raise LabError(f"The cut {text} must leave at least one node on each side and name each once, of: {nodes}.")
    return first, second


def find(network: str) -> str | None:
    """Return how the cluster of this network is cut (`1,2/3`), None if it is whole or this process can't know."""
    rules = _rules(network)
    return _comment_of(rules[0]).rpartition(" ")[2] if rules else None


def make(network: str, ones: list[Node], others: list[Node]) -> None:
    """Drop all that the nodes of each side send to the other, in one step, instead of an earlier cut.

    Raises LabError when this process may not or can't.
    """
    if lack := lacks():
        raise LabError(f"A cluster can't be cut in two here: {lack}.")
    named = "/".join(",".join(str(node.number) for node in side) for side in (ones, others))
    pairs = [*product(ones, others), *product(others, ones)]
    added = [_rule(network, named, sender, receiver, port) for sender, receiver in pairs for port in PORTS]
    _apply([*_removals(network), *added])


def remove(network: str) -> bool:
    """Remove every rule of this network's cluster, whoever made it, in one step; return whether there was one."""
    removals = _removals(network)
    if removals:
        _apply(removals)
    return bool(removals)


def _mark(network: str) -> str:
    return f"store-manager lab {network} "


def _rule(network: str, sides: str, sender: Node, receiver: Node, port: int) -> str:
    return (
        f"-A OUTPUT -d {receiver.address}/32 -p tcp -m tcp --dport {port} -m owner --gid-owner {sender.group} "
        f'-m comment --comment "{_mark(network)}{sides}" -j DROP'
    )


def _rules(network: str) -> list[str]:
    if lacks():
        return []
    listed = _run(["iptables", "--wait", str(WAIT_S), "--list-rules", "OUTPUT"])
    return [line for line in listed.splitlines() if _comment_of(line).startswith(_mark(network))]


def _comment_of(rule: str) -> str:
    words = shlex.split(rule)
    return words[words.index("--comment") + 1] if "--comment" in words else ""


def _removals(network: str) -> list[str]:
    return [rule.replace("-A", "-D", 1) for rule in _rules(network)]


def _apply(changes: list[str]) -> None:
    _run(["iptables-restore", "--wait", str(WAIT_S), "--noflush"], "\n".join(["*filter", *changes, "COMMIT", ""]))


def _run(command: list[str], told: str | None = None) -> str:
    try:
        ended = subprocess.run(  # noqa: S603 (the system's own tools, no shell)
            command, input=told, capture_output=True, text=True, check=True, timeout=TIMEOUT_S
        )
    except subprocess.CalledProcessError as error:
        raise LabError(f"The packet filter can't be changed: {error.stderr.strip()}.") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LabError(f"The packet filter can't be changed: {command[0]} did not answer.") from error
    return ended.stdout
