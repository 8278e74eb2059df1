"""Figures for Prometheus: requests by route and status, the statements that they sent, and which node answered them.

With several worker processes prometheus_client keeps the figures in files, under the directory that
`PROMETHEUS_MULTIPROC_DIR` names; `store-manager serve` makes one.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

if TYPE_CHECKING:
    from collections.abc import Mapping

    from store_manager.database.statements import Kind

_REQUESTS = Histogram("store_http_request_duration_seconds", "How long requests took", ["method", "route", "status"])
_STATEMENTS = Counter("store_cql_statements", "Statements sent to Cassandra", ["method", "route"])
_COORDINATED = Counter(
    "store_cql_coordinated", "Statements that a node answered as their coordinator", ["coordinator", "kind"]
)
_STATEMENT_SECONDS = Counter("store_cql_statement_seconds", "Time spent waiting for Cassandra", ["method", "route"])


def count_request(
    method: str,
    route: str,
    status: int,
    *,
    duration_s: float,
    statements: int,
    statements_s: float,
    answers: Mapping[tuple[str, Kind], int],
) -> None:
    """Count one request that was answered."""
    _REQUESTS.labels(method, route, str(status)).observe(duration_s)
    if statements:
        _STATEMENTS.labels(method, route).inc(statements)
        _STATEMENT_SECONDS.labels(method, route).inc(statements_s)
    for (coordinator, kind), answered in answers.items():
        _COORDINATED.labels(coordinator, kind.value).inc(answered)


def write_all() -> tuple[bytes, str]:
    """Return all figures of all worker processes as text, and its media type."""
    registry: CollectorRegistry = REGISTRY
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry), CONTENT_TYPE_LATEST
