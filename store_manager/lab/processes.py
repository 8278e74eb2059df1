"""Processes of the operating system: start one, find it again later, end it, and only it.

A pid alone is never trusted, since it is reused: recorded is the pid with the moment of its start, and the command line
must carry the node's own argument. Nothing here knows Cassandra.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import psutil

from store_manager.lab import groups, owners

if TYPE_CHECKING:
    from pathlib import Path

# The system's clock may be set between the start of a process and the next look at it.
CLOCK_TOLERANCE_S = 5.0
EXEC_TIMEOUT_S = 2.0
POLL_S = 0.05


def spawn(command: list[str], output: Path, owner_pid: int | None, group: int | None = None) -> psutil.Process:
    """Start a command in a session of its own, so that a terminal's Ctrl-C does not reach it; return its process.

    With an owner it is killed when the owner ends, without one it outlives this process. With a group, which only root
    can give, it is told from all others by it.
    """
    if owner_pid is not None:
        is_owner_lasting = owner_pid == os.getpid() and threading.current_thread() is threading.main_thread()
        how = "parent" if is_owner_lasting else "guard"
        command = [sys.executable, "-I", "-S", owners.__file__, how, str(owner_pid), *command]
    if group is not None:
        command = [sys.executable, "-I", "-S", groups.__file__, str(group), *command]
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(output), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    return psutil.Process(os.posix_spawn(command[0], command, os.environ, file_actions=actions, setsid=True))


def record(process: psutil.Process, path: Path) -> None:
    """Write a process down, so that another command finds it."""
    path.write_text(json.dumps({"pid": process.pid, "started_at_s": process.create_time()}), encoding="utf-8")


def find(path: Path, marker: str) -> psutil.Process | None:
    """Return the recorded process if it still runs and carries `marker` on its command line, else None."""
    try:
        recorded = json.loads(path.read_text(encoding="utf-8"))
        process = psutil.Process(recorded["pid"])
        is_same = abs(process.create_time() - recorded["started_at_s"]) < CLOCK_TOLERANCE_S
        return process if is_same and marker in _command_line(process) and is_alive(process) else None
    except (OSError, ValueError, LookupError, TypeError, psutil.Error):
        return None


def _command_line(process: psutil.Process) -> list[str]:
    # For a moment, while a new process is still turning into its command, it is empty.
    deadline = time.monotonic() + EXEC_TIMEOUT_S
    while not (line := process.cmdline()) and is_alive(process) and time.monotonic() < deadline:
        time.sleep(POLL_S)
    return list(line)


def is_alive(process: psutil.Process) -> bool:
    """Tell whether a process still runs; a dead child of this process is buried."""
    with suppress(psutil.TimeoutExpired):
        process.wait(0)
        return False
    with suppress(psutil.Error):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False


def is_in_group(process: psutil.Process, group: int) -> bool:
    """Tell whether a process was started in this group."""
    with suppress(psutil.Error):
        return bool(process.gids().effective == group)
    return False


def is_frozen(process: psutil.Process) -> bool:
    """Tell whether a process is halted by SIGSTOP."""
    with suppress(psutil.Error):
        return bool(process.status() == psutil.STATUS_STOPPED)
    return False


def terminate(process: psutil.Process) -> None:
    """Ask a process to end; a frozen one is thawed so that it can."""
    with suppress(psutil.NoSuchProcess):
        process.terminate()
        process.resume()


def kill(process: psutil.Process) -> None:
    """End a process as a power cut would."""
    with suppress(psutil.NoSuchProcess):
        process.kill()


def wait_gone(process: psutil.Process, timeout_s: float) -> bool:
    """Wait until a process has ended; return whether it did in time."""
    deadline = time.monotonic() + timeout_s
    while is_alive(process):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True
