"""Audit of what must be unique: products and users against the claims of their SKUs and e-mails, and back.

Whether they are listed is looked at here as well, for it follows from the same rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

from store_manager.dao import claims as claim_rows
from store_manager.dao import products as product_rows
from store_manager.dao import scans
from store_manager.dao import users as user_rows
from store_manager.models.claims import EMAIL, SKU, Claim
from store_manager.models.products import ACTIVE, DRAFT, REFUSED, RETIRED, Product
from store_manager.models.users import DELETED
from store_manager.services import claims, clocks, products, users
from store_manager.services.findings import Code, Finding, Patience, Walk, look_steadily
from store_manager.services.listing_audits import judge_unlisted, place_in_category, place_product, place_user

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime

    from store_manager.dao.scans import Page, Place
    from store_manager.models.users import User


@dataclass(frozen=True)
class Owners:
    """Who may hold claims of one kind: how they are read, what they want, and how one left half made is finished.

    `needed` names the columns that no row lacks, `gone` the states in which nothing is expected of one.
    """

    kind: str
    table: str
    walk: Callable[[], Iterator[Page[Any]]]
    find: Callable[..., Any]
    find_many: Callable[[Iterable[UUID]], dict[UUID, Any]]
    change: Callable[[Any, dict[str, Any]], bool]
    id_of: Callable[[Any], UUID]
    value_of: Callable[[Any], str]
    wants: Callable[[Any, str], bool]
    stands_behind: Callable[[UUID, str], bool]
    finish: Callable[[UUID], object]
    places: tuple[Callable[[Any], Place | None], ...]
    changed_at: Callable[[UUID], datetime | None]
    needed: tuple[str, ...]
    gone: tuple[str, ...]

    def name(self, owner: Any) -> str:
        """Return table and key."""
        return f"{self.table} {self.id_of(owner)}"


def _sku_of(product: Product) -> str:
    return str(product.sku)


def _email_of(user: User) -> str:
    return users.normalise(user.email)


PRODUCTS = Owners(
    kind=SKU,
    table="products",
    walk=scans.walk_products,
    find=product_rows.find,
    find_many=product_rows.find_many,
    change=product_rows.change,
    id_of=lambda product: UUID(str(product.product_id)),
    value_of=_sku_of,
    wants=products.wants_sku,
    stands_behind=products.stands_behind,
    finish=products.get,
    places=(place_product, place_in_category),
    changed_at=scans.find_product_time,
    needed=("sku", "name", "price", "created_at", "version"),
    gone=(REFUSED, RETIRED),
)
USERS = Owners(
    kind=EMAIL,
    table="users",
    walk=scans.walk_users,
    find=user_rows.find,
    find_many=user_rows.find_many,
    change=user_rows.change,
    id_of=lambda user: UUID(str(user.user_id)),
    value_of=_email_of,
    wants=users.wants_email,
    stands_behind=users.stands_behind,
    finish=users.get,
    places=(place_user,),
    changed_at=scans.find_user_time,
    needed=("name", "email", "created_at", "version"),
    gone=(REFUSED, DELETED),
)
OWNERS = {owners.kind: owners for owners in (PRODUCTS, USERS)}
"""By kind of claim. The claims of idempotency keys belong to no row: they stay, so that a key keeps its meaning."""


class OwnerWalk(Walk[Any, UUID]):
    """Every product, or every user."""

    def __init__(self, patience: Patience, owners: Owners) -> None:
        super().__init__(patience)
        self.name = owners.table
        self._owners = owners

    def pages(self) -> Iterator[Page[Any]]:
        """Yield the rows, in whatever state."""
        return self._owners.walk()

    def sift(self, items: list[Any]) -> Iterator[UUID]:
        """Return those that are not whole, not finished, hold no claim, or are not listed."""
        own = self._owners
        active = [row for row in items if row.state == ACTIVE and not any(self._find_gaps(row))]
        sound = {own.id_of(row) for row in active if _pending_of(row) is None}
        yield from (own.id_of(row) for row in items if own.id_of(row) not in sound and row.state not in own.gone)
        there = scans.find_claims(own.kind, [own.value_of(row) for row in active])
        for row in active:
            claim = there.get(own.value_of(row))
            if claim is None or claim.holder_id != own.id_of(row):
                yield own.id_of(row)
        yield from (place.key for place in scans.find_unlisted(self._places_of(active)))

    def _places_of(self, rows: Iterable[Any]) -> list[Place]:
        places = [place_of(row) for row in rows for place_of in self._owners.places]
        return [place for place in places if place is not None]

    def look(self, key: UUID) -> list[Finding]:
        """Return what is wrong with a product or user, unless somebody changes it meanwhile."""
        return look_steadily(
            partial(self._owners.find, key, serial=True), lambda row: row.version, lambda row: list(self._judge(row))
        )

    def _find_gaps(self, row: Any) -> list[str]:
        return [name for name in self._owners.needed if getattr(row, name) is None]

    def _judge(self, row: Any) -> Iterator[Finding]:
        if row.state in self._owners.gone:
            return
        gaps = self._find_gaps(row)
        if gaps or row.state not in (ACTIVE, DRAFT):
            text = f"It is {row.state}" + (f" and has no {', '.join(gaps)}" if gaps else "")
            yield Finding(Code.ROW_INCOMPLETE, text, self._owners.name(row))
        elif row.state == DRAFT:
            yield self._judge_draft(row)
        else:
            yield from self._judge_claim(row)
            if _pending_of(row) is not None:
                yield self._judge_pending(row)
            found = [judge_unlisted(place) for place in self._places_of([row])]
            yield from (finding for finding in found if finding is not None)

    def _judge_draft(self, row: Any) -> Finding:
        own = self._owners
        claim = claim_rows.find(own.kind, own.value_of(row))
        severity = self.patience.judge(own.changed_at(own.id_of(row)))
        if claim is not None and claim.holder_id == own.id_of(row):
            text = f"It holds the claim of {own.value_of(row)}, but its creation was not finished"
            mend = partial(own.finish, own.id_of(row))
            return Finding(Code.DRAFT_UNFINISHED, text, own.name(row), severity, mend)
        text = f"It was to be created, but does not hold the claim of {own.value_of(row)}: nobody sees it"
        refuse = partial(own.change, row, {"state": REFUSED})
        return Finding(Code.DRAFT_ORPHANED, text, own.name(row), severity, refuse)

    def _judge_claim(self, row: Any) -> Iterator[Finding]:
        own, value = self._owners, self._owners.value_of(row)
        claim = claim_rows.find(own.kind, value)
        mend = partial(self._claim_again, own.id_of(row), value)
        if claim is None:
            yield Finding(Code.CLAIM_MISSING, f"Nobody holds the claim of {value}", own.name(row), mend=mend)
        elif claim.holder_id != own.id_of(row):
            holder = None if claim.holder_id is None else own.find(claim.holder_id, serial=True)
            stands = holder is not None and own.wants(holder, value)
            text = f"The claim of {value} is held by {claim.holder_id}" + ("" if stands else ", which does not have it")
            yield Finding(Code.CLAIM_FOREIGN, text, own.name(row), mend=None if stands else mend)

    def _claim_again(self, owner_id: UUID, value: str) -> None:
        """Take the claim for its owner, unless another stands behind it; give it up if the owner went meanwhile."""
        own = self._owners
        claims.take(own.kind, value, owner_id, lambda other: own.stands_behind(other, value))
        owner = own.find(owner_id, serial=True)
        if owner is None or not own.wants(owner, value):
            claims.give_up(claims.find_held(own.kind, value, owner_id))

    def _judge_pending(self, user: User) -> Finding:
        claim = claim_rows.find(EMAIL, users.normalise(user.pending_email))
        taken = claim is not None and claim.holder_id == user.user_id
        rest = "which it has claimed" if taken else "which it has not claimed"
        return Finding(
            Code.EMAIL_PENDING,
            f"A change of its e-mail to {user.pending_email}, {rest}, was not finished",
            USERS.name(user),
            self.patience.judge(scans.find_user_time(user.user_id)),
            mend=partial(_finish_email if taken else _forget_email, user),
        )


def _pending_of(row: Any) -> str | None:
    pending: str | None = getattr(row, "pending_email", None)
    return pending


def _finish_email(user: User) -> None:
    old = claims.find_held(EMAIL, _email_of(user), user.user_id)
    values = {"email": user.pending_email, "pending_email": None, "updated_at": clocks.now()}
    if user_rows.change(user, values):
        claims.give_up(old)


def _forget_email(user: User) -> None:
    user_rows.change(user, {"pending_email": None})


class ClaimWalk(Walk[Claim, tuple[str, str]]):
    """Every claim of a SKU or an e-mail."""

    name = "claims"

    def pages(self) -> Iterator[Page[Claim]]:
        """Yield the claims, those of idempotency keys included."""
        return scans.walk_claims()

    def sift(self, items: list[Claim]) -> Iterator[tuple[str, str]]:
        """Return the claims that their holders do not stand behind."""
        for kind, own in OWNERS.items():
            some = [claim for claim in items if claim.kind == kind]
            holders = own.find_many(claim.holder_id for claim in some if claim.holder_id is not None)
            for claim in some:
                holder = holders.get(claim.holder_id)
                if holder is None or not own.wants(holder, claim.value):
                    yield kind, claim.value

    def look(self, key: tuple[str, str]) -> list[Finding]:
        """Return that a claim is dead, unless it was taken, or its holder changed, a moment ago."""
        return look_steadily(partial(claim_rows.find, *key), lambda claim: claim.claim_id, self._judge)

    def _judge(self, claim: Claim) -> list[Finding]:
        own = OWNERS[claim.kind]
        holder = None if claim.holder_id is None else own.find(claim.holder_id, serial=True)
        if holder is not None and own.wants(holder, claim.value):
            return []
        changed_at = None if holder is None else own.changed_at(claim.holder_id)
        return [
            Finding(
                Code.CLAIM_DEAD,
                f"Its holder, {claim.holder_id}, does not have {claim.value}",
                f"claims {claim.kind} {claim.value}",
                self.patience.judge(scans.find_claim_time(claim), changed_at),
                mend=partial(claim_rows.release, claim),
            )
        ]
