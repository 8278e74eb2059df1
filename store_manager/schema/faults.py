"""What can go wrong with a schema: one clear sentence each, which says what to do."""

from __future__ import annotations

from store_manager.errors import StoreError


class SchemaRefused(StoreError):
    """The schema differs from the Models in a way that a sync can't change; nothing was run."""

    code = "SCHEMA_REFUSED"


class SchemaDisagreement(StoreError):
    """The nodes do not agree on one schema; no further step was run."""

    code = "SCHEMA_DISAGREEMENT"


class NodeAway(StoreError):
    """A node does not answer, and nobody said that it may be away; no further step was run."""

    code = "SCHEMA_NODE_AWAY"


class SchemaStepFailed(StoreError):
    """A step failed, or nobody knows whether it happened; no further step was run, and a sync may be run again."""

    code = "SCHEMA_STEP_FAILED"


class LockHeld(StoreError):
    """Somebody else changes the schema, and did not end in time; nothing was run."""

    code = "SCHEMA_LOCK_HELD"


class LockLost(StoreError):
    """The lease of the lock is over, or may be; no further step was run."""

    code = "SCHEMA_LOCK_LOST"


class MigrationInvalid(StoreError):
    """A migration's file, or what it asks for, is not allowed."""

    code = "MIGRATION_INVALID"


class MigrationChanged(StoreError):
    """A migration that was applied is missing or is no longer the same; nothing was run."""

    code = "MIGRATION_CHANGED"


class MigrationFailed(StoreError):
    """A migration ended in the middle; it goes on from there when the sync is run again."""

    code = "MIGRATION_FAILED"


class ConfirmationMissing(StoreError):
    """Something asks for an operator's word that was not given; no further step was run."""

    code = "SCHEMA_CONFIRMATION_MISSING"
