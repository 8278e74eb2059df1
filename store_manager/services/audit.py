"""The audit: walks the whole store, page by page, while it sells, and checks every invariant.

What each walk looks at stands in the audits of stocks, orders, claims and listings; what is mended is mended by what
the services and the recovery would do. Nothing is kept but the pages at hand.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from store_manager.dao.scans import patiently
from store_manager.database import deadlines
from store_manager.errors import StoreError
from store_manager.services.claim_audits import PRODUCTS, USERS, ClaimWalk, OwnerWalk
from store_manager.services.findings import Finding, Patience, Severity, Walk
from store_manager.services.listing_audits import KINDS, BucketWalk, ListingWalk
from store_manager.services.order_audits import OrderWalk
from store_manager.services.stock_audits import StockWalk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from store_manager.dao.scans import Page

AHEAD = 8
"""How many pages are examined at the same time."""

STEP_S = 30.0
"""How long mending one thing may take."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Progress:
    """How much of a walk is done, from 0 to 1, and how many things it has looked at."""

    walk: str
    reached: float
    looked_at: int


def plan(patience: Patience) -> list[Walk[Any, Any]]:
    """Return the walks of one audit, in their order."""
    return [
        OwnerWalk(patience, PRODUCTS),
        OwnerWalk(patience, USERS),
        ClaimWalk(patience),
        OrderWalk(patience),
        StockWalk(patience),
        *(ListingWalk(patience, kind) for kind in KINDS),
        *(BucketWalk(patience, kind) for kind in KINDS),
    ]


def run(walks: list[Walk[Any, Any]], *, repair: bool = False) -> Iterator[Progress | Finding]:
    """Yield what is found, as it is found, and how far it is; mend first what has one right answer, if asked to.

    What is in flight is left alone. Raises `DatabaseUnavailable` if the database does not answer for half a minute.
    """
    for walk in walks:
        looked_at = 0
        for page, found in _examine_ahead(walk):
            looked_at += len(page.items)
            yield from (_treat(finding, repair=repair) for finding in found)
            yield Progress(walk.name, page.reached, looked_at)
        yield from (_treat(finding, repair=repair) for finding in walk.conclude())
        yield Progress(walk.name, 1.0, looked_at)


def _examine_ahead(walk: Walk[Any, Any]) -> Iterator[tuple[Page[Any], list[Finding]]]:
    """Examine several pages at a time, and yield each with what was found, in their order."""
    ahead: deque[tuple[Page[Any], Future[list[Finding]]]] = deque()
    with ThreadPoolExecutor(AHEAD, thread_name_prefix="audit") as pool:
        for page in walk.pages():
            ahead.append((page, pool.submit(patiently, partial(walk.examine, page.items))))
            if len(ahead) == AHEAD:
                oldest, examined = ahead.popleft()
                yield oldest, examined.result()
        for oldest, examined in ahead:
            yield oldest, examined.result()


def _treat(finding: Finding, *, repair: bool) -> Finding:
    if not repair or finding.mend is None or finding.severity is not Severity.WRONG:
        return finding
    try:
        with deadlines.deadline(STEP_S):
            finding.mend()
            left = finding.look_again() if finding.look_again else []
    except StoreError as error:
        log.warning("audit_repair_put_off", where=finding.where, code=finding.code.value, reason=error.message)
        return finding
    return replace(finding, repaired=finding.key not in {one.key for one in left})
