"""What can go wrong with the cluster's upkeep: one clear sentence each, which says what to do."""

from __future__ import annotations

from store_manager.errors import StoreError


class ManagementError(StoreError):
    """A node's management interface (JMX) can't be used, or refuses what was asked."""

    code = "MANAGEMENT_ERROR"


class ManagementSilent(ManagementError):
    """Nobody answers where a node's management interface should be."""

    code = "MANAGEMENT_SILENT"


class UpkeepFailed(StoreError):
    """A repair, a cleanup or a snapshot failed on a node; what was done on others before stays done."""

    code = "UPKEEP_FAILED"


class StatusRefused(StoreError):
    """The service's user may not read how the nodes are."""

    code = "STATUS_REFUSED"
