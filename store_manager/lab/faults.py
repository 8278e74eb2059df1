"""The lab's errors: one clear sentence each, which says what to do. No logging, no exit codes."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from store_manager.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_FULL = (errno.ENOSPC, errno.EDQUOT)


class LabError(StoreError):
    """The lab can't do what was asked; the message says why and what to do."""

    code = "LAB_ERROR"


class AlreadyRunning(LabError):
    """Nodes of this cluster run already; nothing was changed."""

    code = "LAB_ALREADY_RUNNING"


@contextmanager
def files_of(home: Path) -> Iterator[None]:
    """Raise LabError where the system refuses to read or write a file: its disk is full, or it may not be used."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise LabError(f"The disk of {home} is full: make room and try again.") from error
        if error.errno is None or error.filename is None:  # not about a file
            raise
        why = os.strerror(error.errno).lower()
        raise LabError(f"{error.filename} can't be used ({why}): correct that, or name another LAB_HOME.") from error
