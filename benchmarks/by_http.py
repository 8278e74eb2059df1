"""Sales by HTTP: orders of one unit, placed by buyers over connections that stay open, at one server or several.

Each server is a process of its own (`benchmarks.servers`), and the buyers take turns at them.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import replace
from http import HTTPStatus
from itertools import count
from typing import TYPE_CHECKING, Any

from benchmarks.below_http import Measured, buy_for
from benchmarks.clients import HttpServer, NoAnswerError, insist
from benchmarks.faults import Service
from benchmarks.servers import PATH, PROGRAM

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from uuid import UUID

    from store_manager.settings import Settings

HOST, PORTS = "127.0.0.1", (5151, 5152, 5153, 5154)
TIMEOUT_S = 40.0
READY_S = 60.0


@contextmanager
def servers(settings: Settings, way: str, number: int, buyers: int, directory: Path) -> Iterator[list[HttpServer]]:
    """Start so many servers that change stock in one way, with a connection for each buyer; end them afterwards."""
    directory.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        found = []
        for place, port in enumerate(PORTS[:number], start=1):
            own = replace(settings, http_host=HOST, http_port=port, log_level="ERROR")
            service = Service(place, own, directory, (PROGRAM, way))
            stack.callback(service.kill)
            service.start()
            found.append(HttpServer(HOST, port, timeout_s=TIMEOUT_S, connections=buyers))
        for server in found:
            insist(server, "/readyz", patience_s=READY_S)
        yield found


def place_orders(
    servers: Sequence[HttpServer], product_id: UUID, user_id: UUID, buyers: int, seconds: float
) -> Measured:
    """Place orders of one unit from so many buyers for so long."""
    body = {"user_id": str(user_id), "items": [{"product_id": str(product_id), "quantity": 1}]}
    numbers = count()

    def buy() -> None:
        reply = servers[next(numbers) % len(servers)].send("POST", "/orders", body, {})
        if reply.status != HTTPStatus.CREATED:
            raise NoAnswerError(reply.body["code"], was_sent=True)

    buy_for(min(1.0, seconds), len(servers), buy)  # what runs for the first time is slow
    _take_counts(servers)
    latencies_s, failed = buy_for(seconds, buyers, buy)
    taken = _take_counts(servers)
    return Measured(
        latencies_s,
        failed,
        conditional=sum(one["conditional"] for one in taken),
        stock=sum(one["stock"] for one in taken),
    )


def _take_counts(servers: Sequence[HttpServer]) -> list[dict[str, Any]]:
    return [server.send("GET", PATH, None, {}).body for server in servers]
