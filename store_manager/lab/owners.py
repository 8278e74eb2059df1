"""Processes that die with the one that owns them, however it ends: the kernel sees to it (Linux); or with a terminal.

Run as a script in front of a command (`python owners.py parent|guard OWNER_PID COMMAND ...`), so that the promise is
made inside the new process, where threads of its parent can do no harm. Uses the standard library only.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import threading

PR_SET_PDEATHSIG = 1


def die_with(owner_pid: int) -> None:
    """Have this process killed as soon as its parent, which must be `owner_pid`, has ended.

    The kernel means the parent's *thread*: only what a main thread starts can rely on it.
    """
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise OSError(ctypes.get_errno(), "this process can't be bound to its parent")
    # The parent may have ended before the promise was made: then nobody would keep it.
    if os.getppid() != owner_pid:
        sys.exit("the owner has ended")


def set_guard(owner_pid: int) -> None:
    """Have this process killed as soon as `owner_pid`, whoever that is, has ended: a forked guard waits for it."""
    owner, guarded = os.pidfd_open(owner_pid), os.pidfd_open(os.getpid())
    if os.fork():
        os.wait()
        return
    # Forked once more, the guard is nobody's child: what it guards has no dead child to bury.
    if os.fork():
        os._exit(0)
    ends = select.poll()
    ends.register(owner, select.POLLIN)
    ends.register(guarded, select.POLLIN)
    if owner in dict(ends.poll()):
        signal.pidfd_send_signal(guarded, signal.SIGKILL)
    os._exit(0)


def heed_terminal() -> None:
    """Have this process get SIGHUP when its terminal has gone, if it has one; what it still writes goes nowhere.

    The kernel tells the terminal's first process only. If that is `make`, it tells nobody, and waits.
    """
    terminals = [descriptor for descriptor in range(3) if os.isatty(descriptor)]
    if terminals:
        threading.Thread(target=_await_hangup, args=(terminals,), name="terminal", daemon=True).start()


def _await_hangup(terminals: list[int]) -> None:
    ends = select.poll()
    ends.register(os.dup(terminals[0]), 0)  # a hangup is told whatever one asks for
    ends.poll()
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in terminals:
        os.dup2(nowhere, descriptor)
    os.kill(os.getpid(), signal.SIGHUP)


if __name__ == "__main__":
    bind = {"parent": die_with, "guard": set_guard}[sys.argv[1]]
    bind(int(sys.argv[2]))
    os.execv(sys.argv[3], sys.argv[3:])  # noqa: S606 (the lab's own command line, no shell wanted)
