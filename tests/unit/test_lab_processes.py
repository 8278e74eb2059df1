"""Processes that are found again, and that die with their owner."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import psutil
import pytest

from store_manager.lab import processes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PATIENCE_S = 20
SLEEP = ["/bin/sleep", "300"]
OWNER = """
import os, sys, threading, time
from pathlib import Path
from store_manager.lab import processes
def spawn():
    global process
    process = processes.spawn({command!r}, Path(os.devnull), {owner})
    while process.cmdline() != {command!r}:
        time.sleep(0.01)
{how}
print(process.pid, flush=True)
time.sleep(300)
"""


HEEDING = """
import signal
from store_manager.lab import owners
owners.heed_terminal()
signal.signal(signal.SIGHUP, lambda *_: print("This goes nowhere.", flush=True))
print("ready", flush=True)
signal.pause()
"""


def _eventually(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE_S
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.02)
    return holds()


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[psutil.Process]:
    process = processes.spawn(SLEEP, tmp_path / "output", owner_pid=None)
    yield process
    processes.kill(process)
    assert processes.wait_gone(process, PATIENCE_S)


def test_a_recorded_process_is_found_again(sleeper: psutil.Process, tmp_path: Path) -> None:
    processes.record(sleeper, tmp_path / "process.json")
    assert processes.find(tmp_path / "process.json", "300") == sleeper


def test_a_process_with_another_command_line_is_not_found(sleeper: psutil.Process, tmp_path: Path) -> None:
    processes.record(sleeper, tmp_path / "process.json")
    assert processes.find(tmp_path / "process.json", "301") is None


def test_a_process_that_reuses_the_pid_is_not_found(sleeper: psutil.Process, tmp_path: Path) -> None:
    earlier = {"pid": sleeper.pid, "started_at_s": sleeper.create_time() - 60}
    (tmp_path / "process.json").write_text(json.dumps(earlier), encoding="utf-8")
    assert processes.find(tmp_path / "process.json", "300") is None


def test_a_process_that_has_ended_is_not_found(sleeper: psutil.Process, tmp_path: Path) -> None:
    processes.record(sleeper, tmp_path / "process.json")
    processes.kill(sleeper)
    assert processes.wait_gone(sleeper, PATIENCE_S)
    assert processes.find(tmp_path / "process.json", "300") is None


@pytest.mark.parametrize("record", [None, "", "[]", "{}", '{"pid": "x", "started_at_s": 1}'])
def test_a_record_that_is_missing_or_damaged_finds_nothing(tmp_path: Path, record: str | None) -> None:
    if record is not None:
        (tmp_path / "process.json").write_text(record, encoding="utf-8")
    assert processes.find(tmp_path / "process.json", "300") is None


def test_a_frozen_process_is_told_from_a_running_one_and_can_be_ended(sleeper: psutil.Process) -> None:
    assert not processes.is_frozen(sleeper)
    sleeper.suspend()
    assert _eventually(lambda: processes.is_frozen(sleeper))
    assert processes.is_alive(sleeper)
    processes.terminate(sleeper)
    assert processes.wait_gone(sleeper, PATIENCE_S)


def test_a_process_is_out_of_reach_of_the_terminal(sleeper: psutil.Process) -> None:
    assert os.getsid(sleeper.pid) == sleeper.pid != os.getsid(0)


@pytest.mark.parametrize(
    ("how", "owner"),
    [
        ("spawn()", "os.getpid()"),
        # The thread that starts it ends at once: that must not be taken for the end of the owner.
        ("thread = threading.Thread(target=spawn); thread.start(); thread.join()", "os.getpid()"),
    ],
    ids=["from the main thread", "from another thread"],
)
def test_an_owned_process_lives_as_long_as_its_owner_and_dies_when_that_is_killed(how: str, owner: str) -> None:
    owner_process, process = _start_owner(how, owner)
    assert processes.is_alive(process)
    owner_process.kill()
    owner_process.wait()
    assert _eventually(lambda: not processes.is_alive(process))


def test_a_process_can_be_owned_by_one_that_did_not_start_it() -> None:
    owner = subprocess.Popen(SLEEP)
    starter, process = _start_owner("spawn()", str(owner.pid))
    starter.kill()
    starter.wait()
    assert processes.is_alive(process)
    owner.kill()
    owner.wait()
    assert _eventually(lambda: not processes.is_alive(process))


def test_a_process_without_owner_outlives_the_one_that_started_it() -> None:
    starter, process = _start_owner("spawn()", "None")
    starter.kill()
    starter.wait()
    try:
        assert processes.is_alive(process)
    finally:
        processes.kill(process)


def _start_owner(how: str, owner: str) -> tuple[subprocess.Popen[str], psutil.Process]:
    script = OWNER.format(command=SLEEP, owner=owner, how=how)
    starter = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert starter.stdout is not None
    with starter.stdout:
        return starter, psutil.Process(int(starter.stdout.readline()))


def test_a_process_ends_when_its_terminal_has_gone_although_the_kernel_does_not_tell_it() -> None:
    terminal, inner = pty.openpty()  # of no session: the kernel tells nobody
    with subprocess.Popen([sys.executable, "-c", HEEDING], stdin=inner, stdout=inner, stderr=inner) as heeding:
        try:
            os.close(inner)
            assert b"ready" in os.read(terminal, 1024)
            assert heeding.poll() is None
            os.close(terminal)
            assert heeding.wait(PATIENCE_S) == 0
        finally:
            heeding.kill()
