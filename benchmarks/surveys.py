"""Surveys: what the store holds in the end, read over HTTP."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from itertools import cycle
from typing import TYPE_CHECKING

from benchmarks.clients import insist, order_of, pages
from benchmarks.histories import MovementSeen, OrderSeen, Remains, StockSeen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from benchmarks.clients import Server

AT_ONCE = 8


def survey(
    servers: Sequence[Server],
    product_ids: Iterable[str],
    user_ids: Iterable[str],
    order_ids: Iterable[str],
    told: Callable[[], object] = lambda: None,
) -> Remains:
    """Read every stock with its ledger, every order that is there, and every user's list; `told` is called for each."""
    around = cycle(servers)

    def read_order(order_id: str) -> tuple[str, OrderSeen | None]:
        reply = insist(next(around), f"/orders/{order_id}")
        told()
        return order_id, order_of(reply) if reply.status == HTTPStatus.OK else None

    def read_stock(product_id: str) -> tuple[str, StockSeen, list[MovementSeen]]:
        server = next(around)
        body = insist(server, f"/stocks/{product_id}").body
        stock = StockSeen(quantity=body["quantity"], reserved=body["reserved"], version=body["version"])
        ledger = [_movement(row) for row in pages(server, f"/stocks/{product_id}/movements", "movements")]
        told()
        return product_id, stock, ledger

    def read_list(user_id: str) -> list[str]:
        listed = [row["order_id"] for row in pages(next(around), "/orders", "orders", f"&user_id={user_id}")]
        told()
        return listed

    remains = Remains()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for product_id, stock, ledger in pool.map(read_stock, product_ids):
            remains.stocks[product_id] = stock
            remains.ledgers[product_id] = ledger
        for listed in pool.map(read_list, user_ids):
            remains.listed.update(listed)
        remains.orders = {key: order for key, order in pool.map(read_order, order_ids) if order is not None}
    return remains


def _movement(row: dict[str, object]) -> MovementSeen:
    return MovementSeen(**{name: row[name] for name in MovementSeen.__slots__})  # type: ignore[arg-type]
