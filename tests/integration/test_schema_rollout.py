"""Version N of the service and N+1 side by side, during a sync and a back-fill: `make schema-drill` in small."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from benchmarks import rollouts
from store_manager.database.connections import Database, open_database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from store_manager.settings import Settings

ROWS = 200


@pytest.fixture
def own(settings: Settings) -> Iterator[Settings]:
    own = replace(settings, cassandra_keyspace=f"test_rollout_{uuid.uuid4().hex[:12]}")
    yield own
    database: Database = open_database(own)
    database.raw.execute(f"DROP KEYSPACE IF EXISTS {own.cassandra_keyspace}")
    database.close()


def test_no_request_fails_while_one_version_replaces_the_other(own: Settings, tmp_path: Path) -> None:
    seen = rollouts.roll_out(own, tmp_path, rows=ROWS, calm_s=0.5, tell=lambda _line: None)
    assert seen["failed"] == 0
    assert seen["requests"] > 0
    assert seen["copied"] == ROWS + rollouts.PRODUCTS
