"""A cluster of this machine: bring it up, ask how it is, break it in every way, let one more node join, end it.

Its state is one directory: `cluster.json`, and for each node its files with `process.json`. Nothing here prints.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

import psutil

from store_manager.lab import cuts, jars, leftovers, nodes, ports, processes, runtimes
from store_manager.lab.faults import AlreadyRunning, LabError, files_of
from store_manager.lab.views import Watch
from store_manager.rings import halve_widest, shares

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from store_manager.lab.nodes import Node

NAME = "store"
NETWORK = "127.0.0"
HEAP_MB = 512
# What a node needs beside its heap: measured resident memory, rounded up.
BESIDE_HEAP_MB = 400
# Its commit log at its largest, and some data.
DISK_MB = 400
UP_TIMEOUT_S = 240.0
# A node that joins waits for half a minute by itself, then streams.
JOIN_TIMEOUT_S = 600.0
STOP_TIMEOUT_S = 30.0
# Nodes that stop together wait for each other's last words in vain: what they acknowledged is in the commit log anyway.
DOWN_TIMEOUT_S = 5.0
KILL_TIMEOUT_S = 10.0
LOCK_TIMEOUT_S = 5.0
# How long a heartbeat may stand still before its node counts as down.
HEARTBEAT_PATIENCE_S = 4.0
POLL_S = 0.2


@dataclass(frozen=True)
class NodeStatus:
    """How one node is.

    `process` is running, frozen or stopped; `gossip` is how the others see it (UN, DN, UJ ...; several when they do not
    agree; `?` when nobody answers); `owns` is its part of the ring, between 0 and 1; `reads` and `writes` are what it
    did as one of the copies since its start.
    """

    number: int
    address: str
    pid: int | None
    process: str
    gossip: str
    schema_version: str | None
    tokens: tuple[int, ...]
    owns: float | None
    reads: int | None
    writes: int | None


def _keep_quiet(_step: str) -> None:
    """Tell nobody."""


@dataclass
class Cluster:
    """One to nine nodes under `home/name`; the clusters of a home share its jars.

    `node_count` nodes found it; those that have joined since belong to it as well. `owned` nodes die with the process
    that brought the cluster up, however it ends; the others outlive it. `thorough` ones start slowly and run for long.
    """

    home: Path
    node_count: int
    name: str = NAME
    network: str = NETWORK
    heap_mb: int = HEAP_MB
    owned: bool = False
    jar_directory: Path | None = None
    thorough: bool = False

    def __post_init__(self) -> None:
        """Check the number of nodes and their network; nothing is started or written yet."""
        self.home = self.home.resolve()
        self._first_nodes()

    @classmethod
    def load(cls, home: Path, name: str = NAME) -> Cluster:
        """Return the cluster that was brought up here before; raises LabError when there is none."""
        kept = _read_shape(home / name / "cluster.json")
        return cls(home, kept["nodes"], name=name, network=kept["network"], heap_mb=kept["heap_mb"])

    @property
    def directory(self) -> Path:
        """Where all of its data are."""
        return self.home / self.name

    @property
    def nodes(self) -> list[Node]:
        """Every node: those that found it, then those that joined, in whichever command."""
        first = self._first_nodes()
        numbered = enumerate(self._joined_tokens(), start=self.node_count + 1)
        return [*first, *(nodes.joining_node(first[0], number, token) for number, token in numbered)]

    @property
    def addresses(self) -> list[str]:
        """The address of every node."""
        return [node.address for node in self.nodes]

    @property
    def management_hosts(self) -> list[str]:
        """Where the management interface (JMX) of every node is."""
        return [f"127.0.0.1:{node.jmx_port}" for node in self.nodes]

    def up(self, tell: Callable[[str], None] = _keep_quiet) -> None:
        """Start every node, and return when each sees every other as up and all agree on the schema.

        Raises AlreadyRunning, changing nothing, when nodes run; LabError when the cluster can't come up: then, as when
        this is interrupted, nothing is left running.
        """
        with self._alone():
            self._refuse_other_shape()
            self._refuse_if_running()
            cuts.remove(self.network)
            java, class_path = self._prepare(self.nodes)
            owner_pid = os.getpid() if self.owned else None
            self._write_shape(self._joined_tokens(), owner_pid)
            self._launch({node: node.command(java, class_path) for node in self.nodes}, owner_pid, tell)

    def start(self, number: int, tell: Callable[[str], None] = _keep_quiet) -> None:
        """Start a stopped node, and return when it and the running others see each other as up."""
        node = self.node(number)
        with self._alone():
            if self.process(node):
                raise AlreadyRunning(f"Node {number} ({node.address}) runs already.")
            self._refuse_if_cut()
            owner_pid = _read_shape(self._shape_path)["owner_pid"]
            java, class_path = self._prepare([node])
            self._launch({node: node.command(java, class_path)}, owner_pid, tell)

    def join(self, tell: Callable[[str], None] = _keep_quiet) -> Node:
        """Let one more node stream its part from the running ones; return it when each sees every other as up.

        It takes half of the widest range. Raises LabError when a node is away, or when it can't join: then, as when
        this is interrupted, nothing of it is left. Of a command that was killed it is left: `start` goes on.
        """
        with self._alone():
            number = len(self.nodes) + 1
            self._refuse_join(number)
            token, halved = halve_widest(self._tokens())
            owner_pid = _read_shape(self._shape_path)["owner_pid"]
            node = nodes.joining_node(self.nodes[0], number, token)
            shutil.rmtree(node.directory, ignore_errors=True)
            java, class_path = self._prepare([node])
            tokens = self._joined_tokens()
            self._write_shape([*tokens, token], owner_pid)
            try:
                self._launch({node: node.command(java, class_path)}, owner_pid, tell)
            except BaseException:
                self._write_shape(tokens, owner_pid)
                shutil.rmtree(node.directory, ignore_errors=True)
                raise
            owned = shares(self._tokens())
        tell(f"Tokens: one for each node, so the shares are not even; {node.address} took half of what {halved} owned")
        tell("Owned: " + ", ".join(f"{address} {owned[address]:.1%}" for address in self.addresses))
        return node

    def stop(self, number: int, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """End a node gracefully, and return when its process is gone and its ports are free."""
        node = self.node(number)
        with self._alone():
            process = self._running(node)
            processes.terminate(process)
            if not processes.wait_gone(process, timeout_s):
                raise LabError(f"Node {number} ({node.address}) did not stop within {timeout_s:.0f} s: kill it.")
            _wait_ports_free(node)

    def kill(self, number: int) -> None:
        """End a node as a power cut would (SIGKILL)."""
        node = self.node(number)
        _kill(node, self._running(node))

    def freeze(self, number: int) -> None:
        """Halt a node without closing anything (SIGSTOP): to the others it hangs."""
        self._running(self.node(number)).suspend()

    def thaw(self, number: int) -> None:
        """Let a frozen node run on."""
        self._running(self.node(number)).resume()

    def cut(self, sides: str) -> None:
        """Cut the network between two sides (`3` against the others, or `1,2/3`), instead of an earlier cut.

        Callers still reach every node. Raises LabError when this process may not, or the nodes can't be told apart.
        """
        ones, others = cuts.parse_sides(sides, [node.number for node in self.nodes])
        with self._alone():
            if lack := cuts.lacks():
                raise LabError(f"A cluster can't be cut in two here: {lack}.")
            for node in self.nodes:
                process = self.process(node)
                if process and not processes.is_in_group(process, node.group):
                    raise LabError(
                        f"Node {node.number} ({node.address}) was not started by root, so the packet filter can't tell "
                        "it from the others: end the cluster, bring it up as root, then cut it."
                    )
            cuts.make(self.network, [self.node(one) for one in ones], [self.node(one) for one in others])

    def heal(self, tell: Callable[[str], None] = _keep_quiet) -> bool:
        """End a cut, and return when all nodes that run see each other again; return whether there was a cut."""
        with self._alone():
            if not cuts.remove(self.network):
                return False
            self._wait_up({}, time.monotonic(), tell)
            return True

    @property
    def cut_sides(self) -> str | None:
        """How the network is cut now (`1,2/3`); None if it is whole, or for whoever may not look (only root may)."""
        return cuts.find(self.network)

    def down(self, timeout_s: float = DOWN_TIMEOUT_S) -> None:
        """End every node, gracefully and all at once; those that take longer than `timeout_s`, by SIGKILL.

        A cut ends with them.
        """
        with self._alone():
            cuts.remove(self.network)
            running = {node.number: process for node in self.nodes if (process := self.process(node))}
            for process in running.values():
                processes.terminate(process)
            deadline = time.monotonic() + timeout_s
            try:
                for process in running.values():
                    processes.wait_gone(process, deadline - time.monotonic())
            finally:
                for number, process in running.items():
                    _kill(self.node(number), process)

    def destroy(self) -> None:
        """Remove the data of a cluster that is down; the jars stay."""
        if self.directory.exists():
            with self._alone():
                self._refuse_other_shape()
                self._refuse_if_running()
                shutil.rmtree(self.directory)

    def status(self) -> list[NodeStatus]:
        """Return how every node is, as its process and as the others see it."""
        with closing(Watch(self._answering())) as watch:
            watch.look()
            deadline = time.monotonic() + HEARTBEAT_PATIENCE_S
            while any("D" in self._gossip(node, watch) for node in self.nodes) and time.monotonic() < deadline:
                time.sleep(POLL_S)
                watch.look()
        return [self._status(node, watch) for node in self.nodes]

    def node(self, number: int) -> Node:
        """Return a node by its number; raises LabError when there is no such node."""
        for node in self.nodes:
            if node.number == number:
                return node
        raise LabError(f"There is no node {number}: this cluster has {len(self.nodes)}, counted from 1.")

    def process(self, node: Node) -> psutil.Process | None:
        """Return the process of a node, None when it is stopped."""
        return processes.find(node.process_path, node.marker)

    @property
    def _shape_path(self) -> Path:
        return self.directory / "cluster.json"

    def _first_nodes(self) -> list[Node]:
        shape = (self.directory, self.node_count, self.network, self.name, self.heap_mb)
        return nodes.first_nodes(*shape, thorough=self.thorough)

    def _joined_tokens(self) -> list[int]:
        if not self._shape_path.exists():
            return []
        shape = _read_shape(self._shape_path)
        return list(shape.get("joined", ())) if self._is_of(shape) else []

    def _is_of(self, shape: dict[str, Any]) -> bool:
        return (shape["nodes"], shape["network"]) == (self.node_count, self.network)

    def _write_shape(self, joined: list[int], owner_pid: int | None) -> None:
        shape = {
            "nodes": self.node_count,
            "network": self.network,
            "heap_mb": self.heap_mb,
            "owner_pid": owner_pid,
            "joined": joined,
        }
        self._shape_path.write_text(json.dumps(shape), encoding="utf-8")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        # The kernel drops the lock with its process: it is never stale.
        with files_of(self.home), self._lock_file() as lock:
            deadline = time.monotonic() + LOCK_TIMEOUT_S
            while not _is_locked(lock):
                if time.monotonic() > deadline:
                    raise LabError(f"Another command is at work in {self.directory}: wait for it.")
                time.sleep(POLL_S)
            yield

    def _lock_file(self) -> TextIO:
        self.directory.mkdir(parents=True, exist_ok=True)
        return (self.directory / ".lock").open("w")

    def _refuse_if_running(self) -> None:
        running = [node.address for node in self.nodes if self.process(node)]
        if running:
            names = ", ".join(running)
            raise AlreadyRunning(f"The cluster in {self.directory} runs already ({names}); nothing was changed.")

    def _refuse_other_shape(self) -> None:
        if not self._shape_path.exists():
            return
        if not self._is_of(_read_shape(self._shape_path)):
            kept = Cluster.load(self.home, self.name)
            raise LabError(
                f"{self.directory} holds the data of another cluster ({', '.join(kept.addresses)}): bring up that one, "
                "or remove its data first."
            )

    def _refuse_if_cut(self) -> None:
        if sides := self.cut_sides:
            raise LabError(f"The cluster is cut in two ({sides}), so the nodes can't see each other: heal it first.")

    def _refuse_join(self, number: int) -> None:
        if number > nodes.MOST_NODES:
            raise LabError(f"A lab cluster has at most {nodes.MOST_NODES} nodes: no more can join.")
        self._refuse_if_cut()
        away = sorted(set(self.addresses) - set(self._answering()))
        if away:
            raise LabError(f"A node can join only while all others run, for it streams from them: {', '.join(away)}.")

    def _tokens(self) -> Mapping[str, tuple[int, ...]]:
        with closing(Watch(self._answering())) as watch:
            watch.look()
            return _most_tokens(watch)

    def _prepare(self, starting: list[Node]) -> tuple[Path, list[Path]]:
        java = runtimes.find_java()
        _refuse_too_little_memory(starting)
        _refuse_full_disk(self.directory, starting)
        for node in starting:
            for address, port in node.endpoints:
                ports.refuse_taken(address, port)
        return java, jars.bring(self.jar_directory or self.home / "jars")

    def _launch(self, commands: dict[Node, list[str]], owner_pid: int | None, tell: Callable[[str], None]) -> None:
        began_s = time.monotonic()
        started: dict[Node, psutil.Process] = {}
        try:
            for node, command in commands.items():
                tell(f"Starting Cassandra on {node.address}:{nodes.CQL_PORT}")
                node.write_files()
                leftovers.finish_removals(node.directory / "data")
                group = None if cuts.lacks() else node.group
                started[node] = processes.spawn(command, node.console_path, owner_pid, group)
                processes.record(started[node], node.process_path)
            self._wait_up(started, began_s, tell)
        except BaseException:
            for node, process in started.items():
                _kill(node, process)
            raise

    def _wait_up(self, started: dict[Node, psutil.Process], began_s: float, tell: Callable[[str], None]) -> None:
        silent = {node.address for node in started}
        joining: set[str] = set()
        timeout_s = JOIN_TIMEOUT_S if any(node.joining for node in started) else UP_TIMEOUT_S
        with closing(Watch(sorted(silent.union(self._answering())))) as watch:
            while missing := self._look(watch, started):
                elapsed_s = time.monotonic() - began_s
                for address in sorted(silent & watch.answering):
                    tell(f"{address} answers after {elapsed_s:.1f} s")
                silent -= watch.answering
                for address in sorted(silent - joining):
                    if any(watch.state(other, address) == "UJ" for other in watch.answering):
                        joining.add(address)
                        tell(f"{address} is joining (UJ) after {elapsed_s:.1f} s: the others stream its part to it")
                if elapsed_s > timeout_s:
                    raise LabError(_not_up(missing, started, timeout_s))
                time.sleep(POLL_S)
        tell(f"Every node sees every other, and all agree on the schema, after {time.monotonic() - began_s:.1f} s")

    @staticmethod
    def _look(watch: Watch, started: dict[Node, psutil.Process]) -> list[str]:
        for node, process in started.items():
            if not processes.is_alive(process):
                raise LabError(
                    f"Cassandra on {node.address} ended while it was starting: try again; if it ends again, its "
                    f"log says why.\n{node.last_words()}"
                )
        watch.look()
        return watch.missing()

    def _running(self, node: Node) -> psutil.Process:
        process = self.process(node)
        if process is None:
            raise LabError(f"Node {node.number} ({node.address}) is not running.")
        return process

    def _answering(self) -> list[str]:
        found = ((node, self.process(node)) for node in self.nodes)
        return [node.address for node, process in found if process and not processes.is_frozen(process)]

    def _gossip(self, node: Node, watch: Watch) -> str:
        others = [address for address in self.addresses if address != node.address] or [node.address]
        seen = {state for address in others if (state := watch.state(address, node.address))}
        return "/".join(sorted(seen)) or "?"

    def _status(self, node: Node, watch: Watch) -> NodeStatus:
        process = self.process(node)
        view = watch.views.get(node.address)
        tokens = _most_tokens(watch)
        return NodeStatus(
            number=node.number,
            address=node.address,
            pid=process.pid if process else None,
            process="stopped" if process is None else "frozen" if processes.is_frozen(process) else "running",
            gossip=self._gossip(node, watch),
            schema_version=view.schema_version if view else None,
            tokens=tokens.get(node.address, ()),
            owns=shares(tokens).get(node.address),
            reads=view.reads if view else None,
            writes=view.writes if view else None,
        )


def _most_tokens(watch: Watch) -> Mapping[str, tuple[int, ...]]:
    """Return the tokens of every node, as the one says that knows most of them."""
    return max((view.tokens for view in watch.views.values() if view), key=len, default={})


def _read_shape(path: Path) -> dict[str, Any]:
    try:
        shape: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LabError(f"There is no cluster in {path.parent}: bring one up first.") from None
    except ValueError as error:
        raise LabError(f"{path} is damaged: remove {path.parent} and bring the cluster up anew.") from error
    return shape


def _is_locked(lock: TextIO) -> bool:
    with suppress(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def _refuse_too_little_memory(starting: list[Node]) -> None:
    needed_mb = sum(node.heap_mb + BESIDE_HEAP_MB for node in starting)
    free_mb = psutil.virtual_memory().available // 2**20
    if free_mb < needed_mb:
        raise LabError(
            f"Too little memory for {len(starting)} node(s): about {needed_mb} MB are needed, {free_mb} MB are free; "
            "end other programs, or start fewer nodes, or with a smaller heap."
        )


def _refuse_full_disk(directory: Path, starting: list[Node]) -> None:
    needed_mb = DISK_MB * len(starting)
    free_mb = shutil.disk_usage(directory).free // 2**20
    if free_mb < needed_mb:
        raise LabError(
            f"The disk of {directory} is too full for {len(starting)} node(s): "
            f"{needed_mb} MB are needed, {free_mb} MB are free; make room and try again."
        )


def _kill(node: Node, process: psutil.Process) -> None:
    processes.kill(process)
    if not processes.wait_gone(process, KILL_TIMEOUT_S):
        raise LabError(f"Node {node.number} ({node.address}), process {process.pid}, can't be killed.")
    _wait_ports_free(node)


def _wait_ports_free(node: Node) -> None:
    # The last threads of a process that is gone may hold its sockets for a moment longer.
    deadline = time.monotonic() + KILL_TIMEOUT_S
    while any(ports.is_taken(address, port) for address, port in node.endpoints):
        if time.monotonic() > deadline:
            raise LabError(f"Node {node.number} ({node.address}) is gone but its ports are still taken.")
        time.sleep(POLL_S)


def _not_up(missing: list[str], started: Iterable[Node], timeout_s: float) -> str:
    words = "\n".join(node.last_words() for node in started)
    late = f"The cluster did not come up within {timeout_s:.0f} s ({'; '.join(missing)})"
    return f"{late}: end what keeps this machine busy and try again; if it does not help, the logs say why.\n{words}"
