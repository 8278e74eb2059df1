"""What can go wrong with a schema: one clear sentence each, which says what to do."""

from __future__ import annotations

from store_manager.errors import StoreError


class SchemaRefused(StoreError):
    """The schema differs from the Models in a way that a sync can't change; nothing was run."""

    code = "SCHEMA_REFUSED"


class SchemaDisagreement(StoreError):
    """The nodes do not agree on one schema; no further step was run."""

    code = "SCHEMA_DISAGREEMENT"


class SchemaStepFailed(StoreError):
    """A step failed, or nobody knows whether it happened; no further step was run, and a sync may be run again."""

    code = "SCHEMA_STEP_FAILED"
