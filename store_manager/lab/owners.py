"""Processes that die with the one that owns them, however it ends: the kernel sees to it (Linux).

Run as a script in front of a command (`python owners.py parent|guard OWNER_PID COMMAND ...`), so that the promise is
made inside the new process, where threads of its parent can do no harm. Uses the standard library only.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys

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


if __name__ == "__main__":
    bind = {"parent": die_with, "guard": set_guard}[sys.argv[1]]
    bind(int(sys.argv[2]))
    os.execv(sys.argv[3], sys.argv[3:])  # noqa: S606 (the lab's own command line, no shell wanted)
