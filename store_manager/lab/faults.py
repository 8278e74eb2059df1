"""The lab's errors: one clear sentence each, which says what to do. No logging, no exit codes."""

from __future__ import annotations

from store_manager.errors import StoreError


class LabError(StoreError):
    """The lab can't do what was asked; the message says why and what to do."""

    code = "LAB_ERROR"


class AlreadyRunning(LabError):
    """Nodes of this cluster run already; nothing was changed."""

    code = "LAB_ALREADY_RUNNING"
