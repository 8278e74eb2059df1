"""A group of its own for each node's process, by which the packet filter tells the nodes of one machine apart.

Run as a script in front of a command (`python groups.py GROUP COMMAND...`), so that no thread of its parent changes its
group; before whatever binds the process to its owner, since the kernel forgets that when a group changes. Only the
group differs, the user stays: so every file can be read and written as before. Uses the standard library only.
"""

from __future__ import annotations

import os
import sys


def enter(group: int, command: list[str]) -> None:
    """Become this command, as a process of this group; returns never."""
    os.setgid(group)
    os.execvp(command[0], command)  # noqa: S606 (the caller's own command line, no shell wanted)


if __name__ == "__main__":
    enter(int(sys.argv[1]), sys.argv[2:])
