"""The labs, worked through to the letter: every command of their pages is run, and prints what the pages say."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import operators
import pytest
from documents import find_unsaid, read_blocks

from store_manager.lab import cuts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from documents import Block

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs" / "labs" / "en").glob("[1-9]*.md"))
ENDED = "-- the block has ended --"
OPEN_S, STEP_S = 180, 240


@pytest.fixture(scope="module")
def terminal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What the learner's second terminal has in its environment, while the first one runs the store."""
    home = tmp_path_factory.mktemp("labs")
    jars = ROOT / ".lab" / "jars"
    jars.mkdir(parents=True, exist_ok=True)
    (home / "jars").symlink_to(jars)
    port, other_port = free_ports(2)
    own = os.environ | {"LAB_HOME": str(home), "HTTP_PORT": str(port)}
    own.pop("CASSANDRA_HOSTS", None)
    store = f"http://127.0.0.1:{port}"
    log = (home / "store.log").open("w", encoding="utf-8")
    running = subprocess.Popen(
        [sys.executable, "-c", operators.SCRIPT, "run", "--nodes", "3"],
        cwd=ROOT,
        env=own,
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    try:
        wait_until_open(store, running, home / "store.log")
        yield own | {"store": store, "other_port": str(other_port)}
    finally:
        running.send_signal(signal.SIGTERM)
        running.wait(60)
        log.close()
    removed = subprocess.run(
        [sys.executable, "-c", operators.SCRIPT, "reset", "--yes"],
        cwd=ROOT,
        env=own,
        check=True,
        capture_output=True,
        text=True,
    )
    assert removed.stdout.startswith("Removed ")
    assert [path.name for path in home.iterdir() if path.is_dir() and not path.is_symlink()] == []


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def wait_until_open(store: str, running: subprocess.Popen[bytes], log: Path) -> None:
    end_s = time.monotonic() + OPEN_S
    while True:
        try:
            urllib.request.urlopen(f"{store}/readyz", timeout=2).close()
        except OSError:
            told = log.read_text(encoding="utf-8")
            assert running.poll() is None, told
            assert time.monotonic() < end_s, told
            time.sleep(0.5)
        else:
            return


@pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])
def test_whoever_works_through_a_lab_sees_what_its_page_says(page: Path, terminal: dict[str, str]) -> None:
    if "split-brain" in page.stem and (lack := cuts.lacks()):
        pytest.skip(f"a cluster can't be cut in two here: {lack}")
    blocks = [*read_blocks(page), None]
    steps = [(step, then) for step, then in pairwise(blocks) if step and step.kind == "sh"]
    try:
        told = work_through([step for step, _ in steps], terminal)
    finally:
        mend(terminal)
    for (step, then), printed in zip(steps, told, strict=False):
        if then and then.kind == "text":
            unsaid = find_unsaid(then.text, printed)
            assert unsaid is None, f"{step.text}\nprinted\n{printed}\nwithout\n{unsaid}"


def mend(terminal: dict[str, str]) -> None:
    """Bring all nodes back, so that a lab that fails does not spoil the next one."""
    for verb in ("heal", "thaw 1", "thaw 2", "thaw 3", "start 1", "start 2", "start 3"):
        command = [sys.executable, "-c", operators.SCRIPT, "lab", "--name", "store-3", *verb.split()]
        subprocess.run(command, cwd=ROOT, env=terminal, capture_output=True, check=False, timeout=STEP_S)


def work_through(steps: list[Block], terminal: dict[str, str]) -> list[str]:
    """Type all blocks into one shell, and return what each of them printed."""
    typed = "".join(f"{step.text}\necho '{ENDED}'\n" for step in steps)
    shell = subprocess.Popen(
        ["bash", "-eu", "-o", "pipefail", "-c", f". docs/labs/prepare.sh\n{typed}"],
        cwd=ROOT,
        env=terminal,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        told, complaints = shell.communicate(timeout=STEP_S)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(shell.pid, signal.SIGKILL)  # what a lab that failed has left in the background
    assert shell.returncode == 0, f"{told}\n{complaints}"
    return told.split(f"{ENDED}\n")
