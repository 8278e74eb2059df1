"""Reservations of an order: one for each product, under an id that follows from both, so that it happens once."""

from __future__ import annotations

from concurrent.futures import wait
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID, uuid5

from store_manager.database import deadlines
from store_manager.errors import OutcomeUnknown, StoreError
from store_manager.services.rules import Operation, Refusal, Verb
from store_manager.services.stock_writers import Done, await_done
from store_manager.services.stocks import WRITERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


@dataclass(frozen=True)
class Short:
    """A product of which there is less than was asked for."""

    product_id: UUID
    requested: int
    available: int


def operation_id_of(order_id: UUID, product_id: UUID) -> UUID:
    """Return the id of an order's reservation of a product: the same for everybody who works on the order."""
    return uuid5(order_id, str(product_id))


def reserve(order_id: UUID, demand: Mapping[UUID, int]) -> list[Short]:
    """Reserve every product of an order; return those that are short, in which case the rest stays to be released.

    All outcomes are awaited. Raises what the writers met, an unknown outcome first.
    """
    outcomes = _carry_out(order_id, Verb.RESERVE, demand)
    return [
        Short(product_id, demand[product_id], done.verdict.after.available)
        for product_id, done in outcomes.items()
        if done.verdict.refusal is Refusal.SHORT
    ]


def release(order_id: UUID, product_ids: Iterable[UUID]) -> None:
    """Give every reserved unit of an order back, exactly once, and make a reservation still on its way impossible."""
    _carry_out(order_id, Verb.RELEASE, dict.fromkeys(product_ids, 0))


def fulfil(order_id: UUID, product_ids: Iterable[UUID]) -> None:
    """Take every reserved unit of an order from what is on hand, exactly once."""
    _carry_out(order_id, Verb.FULFIL, dict.fromkeys(product_ids, 0))


def _carry_out(order_id: UUID, verb: Verb, quantities: Mapping[UUID, int]) -> dict[UUID, Done]:
    futures = {
        product_id: WRITERS.submit(
            product_id, Operation(verb, operation_id_of(order_id, product_id), quantity, order_id=order_id)
        )
        for product_id, quantity in quantities.items()
    }
    wait(futures.values(), timeout=deadlines.remaining_s())
    outcomes: dict[UUID, Done] = {}
    errors: list[StoreError] = []
    for product_id, future in futures.items():
        try:
            outcomes[product_id] = await_done(future)
        except StoreError as error:
            errors.append(error)
    if errors:
        raise next((error for error in errors if isinstance(error, OutcomeUnknown)), errors[0])
    return outcomes
