"""Faults: servers and Cassandra nodes are killed and frozen at random moments, and brought back.

One thread does it to servers, another to nodes, so that one server and one node at most are away at the same time.
Nothing here knows what the store is asked meanwhile.
"""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, fields
from random import Random
from typing import TYPE_CHECKING, Self, TypeVar

import psutil

from benchmarks.clients import HttpServer, NoAnswerError
from store_manager.errors import StoreError
from store_manager.lab import processes
from store_manager.settings import write_value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from concurrent.futures import Future
    from pathlib import Path

    from store_manager.lab.clusters import Cluster
    from store_manager.settings import Settings

FREEZE_S = (9.0, 14.0)
"""How long a freeze lasts: longer than the deadline of a request and than the patience of a client with one server."""

CALM_S = 4.0
"""How long nothing happens between a thing that is back and the next fault, half as long to half as long again."""

DEAD_S = (0.0, 4.0)
"""How long what was killed stays dead."""

START_TIMEOUT_S = 120.0
UP_TIMEOUT_S = 180.0
POLL_S = 0.2
MAIN = "import sys; from store_manager.cli import main; main(sys.argv[1:])"
SERVE = (MAIN, "serve")


Target = TypeVar("Target")


class ChaosError(StoreError):
    """What was broken did not come back."""

    code = "CHAOS"


class Service:
    """A server: `store-manager serve`, with the processes that it makes; it dies with this process.

    `program` is what Python runs instead, with its arguments.
    """

    def __init__(self, number: int, settings: Settings, directory: Path, program: tuple[str, ...] = SERVE) -> None:
        """Describe it; nothing is started yet."""
        self.name = f"server {number}"
        self.settings = settings
        self._directory = directory
        self._program = program
        self._starts = 0
        self._process: psutil.Process | None = None

    def start(self) -> None:
        """Start it, and return when it listens; raises ChaosError if it does not."""
        self._starts += 1
        output = self._directory / f"{self.name.replace(' ', '-')}.{self._starts}.log"
        command = [str(shutil.which("env")), *environment(self.settings), sys.executable, "-c", *self._program]
        self._process = processes.spawn(command, output, os.getpid())
        probe = HttpServer(self.settings.http_host, self.settings.http_port, timeout_s=POLL_S * 5, connections=1)
        end_s = time.monotonic() + START_TIMEOUT_S
        while not _listens(probe):
            if time.monotonic() > end_s or not processes.is_alive(self._process):
                raise ChaosError(f"{self.name} does not listen; see {output}")
            time.sleep(POLL_S)

    def kill(self) -> None:
        """End it as a power cut would, all its processes."""
        for process in self._family():
            processes.kill(process)
            processes.wait_gone(process, START_TIMEOUT_S)

    def freeze(self) -> None:
        """Halt all its processes."""
        for process in self._family():
            with suppress(psutil.NoSuchProcess):
                process.suspend()

    def thaw(self) -> None:
        """Let all its processes run on."""
        for process in self._family():
            with suppress(psutil.NoSuchProcess):
                process.resume()

    def _family(self) -> list[psutil.Process]:
        if self._process is None or not processes.is_alive(self._process):
            return []
        return [self._process, *self._process.children(recursive=True)]


def environment(settings: Settings) -> list[str]:
    """Return all settings as they are given in the environment."""
    return [f"{one.name.upper()}={write_value(getattr(settings, one.name))}" for one in fields(settings)]


def _listens(server: HttpServer) -> bool:
    with suppress(NoAnswerError):
        server.send("GET", "/livez", None, {})
        return True
    return False


@dataclass
class Faults:
    """Breaks servers and nodes, each kind in a thread of its own, for as long as the context lasts or until `stop`.

    The same seed gives each thread the same faults, `calm_s` (see CALM_S) between them. `done` counts them.
    """

    cluster: Cluster
    services: Sequence[Service]
    seed: str
    tell: Callable[[str], None]
    calm_s: float = CALM_S
    done: Counter[str] = field(default_factory=Counter)
    _stopped: threading.Event = field(default_factory=threading.Event)
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(2, thread_name_prefix="faults"))
    _threads: list[Future[None]] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._threads = [self._pool.submit(self._break_servers), self._pool.submit(self._break_nodes)]
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._pool.shutdown()

    def raise_errors(self) -> None:
        """Raise what went wrong with a fault, if anything did."""
        for thread in self._threads:
            if thread.done():
                thread.result()

    def stop(self) -> None:
        """Break nothing more, and return when all is back; raises what went wrong."""
        self._stopped.set()
        for thread in self._threads:
            thread.result()

    def kill_all_nodes(self) -> None:
        """Kill every node at once, and start all of them again."""
        self._note("all nodes", "kill")
        with ThreadPoolExecutor(len(self.cluster.nodes)) as pool:
            list(pool.map(lambda node: self.cluster.kill(node.number), self.cluster.nodes))
        self.cluster.up()
        self.tell("all nodes are back")

    def _break_servers(self) -> None:
        random = Random(f"{self.seed}/servers")  # noqa: S311 - decides what breaks, keeps no secret
        for service, how in self._turns(random, self.services):
            self._note(service.name, how)
            if how == "kill":
                service.kill()
                time.sleep(random.uniform(*DEAD_S))
                service.start()
            else:
                service.freeze()
                try:
                    time.sleep(random.uniform(*FREEZE_S))
                finally:
                    service.thaw()
            self.tell(f"{service.name} is back")

    def _break_nodes(self) -> None:
        random = Random(f"{self.seed}/nodes")  # noqa: S311
        for number, how in self._turns(random, range(1, len(self.cluster.nodes) + 1)):
            self._note(f"node {number}", how)
            if how == "kill":
                self.cluster.kill(number)
                time.sleep(random.uniform(*DEAD_S))
                self.cluster.start(number)
            else:
                self.cluster.freeze(number)
                try:
                    time.sleep(random.uniform(*FREEZE_S))
                finally:
                    self.cluster.thaw(number)
                self._wait_until_up()
            self.tell(f"node {number} is back")

    def _turns(self, random: Random, targets: Sequence[Target]) -> Iterator[tuple[Target, str]]:
        """Yield whom to break and how, after some calm each; killing and freezing take turns at random."""
        while True:
            for how in random.sample(["kill", "freeze"], 2):
                if self._stopped.wait(self.calm_s * random.uniform(0.5, 1.5)):
                    return
                yield random.choice(targets), how

    def _wait_until_up(self) -> None:
        end_s = time.monotonic() + UP_TIMEOUT_S
        while any((node.process, node.gossip) != ("running", "UN") for node in self.cluster.status()):
            if time.monotonic() > end_s:
                raise ChaosError("the nodes do not see each other any more")

    def _note(self, target: str, how: str) -> None:
        self.done[f"{how} {target.rstrip(' 0123456789')}"] += 1
        self.tell(f"{how} {target}")
