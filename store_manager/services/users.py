"""Users: create, read, change, delete."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

from store_manager.dao import claims as claim_rows
from store_manager.dao import conditional, listings, users
from store_manager.errors import Contended, DatabaseUnavailable, EmailTaken, KeyInUse, OutcomeUnknown, UserNotFound
from store_manager.models.claims import EMAIL, Claim
from store_manager.models.users import ACTIVE, DELETED, DRAFT, REFUSED, User
from store_manager.services import claims, clocks, outcomes
from store_manager.services.pages import Page, collect
from store_manager.services.products import check_version
from store_manager.services.request_keys import RequestKey, digest_of


def create(values: dict[str, Any], key: RequestKey | None = None) -> User:
    """Create a user under an e-mail that nobody holds.

    Draft, claim of the e-mail (from here on the user is created), active, listed. Raises `EmailTaken`, and under a key
    `KeyReused` and `KeyInUse`.
    """
    begun = users.find(key.made_id, serial=True) if key else None
    if key and begun:
        return _go_on(begun, key)
    now = clocks.now()
    user = User(
        user_id=key.made_id if key else uuid4(),
        created_at=now,
        updated_at=now,
        state=DRAFT,
        version=1,
        change_id=uuid4(),
        request_digest=digest_of(key),
        **values,
    )
    with outcomes.located(f"/users/{user.user_id}"):
        if not users.insert(user):
            raise KeyInUse("The first call under this idempotency key is still at work.")
        return _claim_and_finish(user)


def _go_on(begun: User, key: RequestKey) -> User:
    """Answer a key's first outcome again; take over what its first call has left undone for longer than the lease."""
    key.recognise(begun.request_digest)
    if begun.state == DRAFT:
        key.check_lease(begun.created_at)
        with outcomes.located(f"/users/{begun.user_id}"):
            return _claim_and_finish(begun)
    key.replay()
    if begun.state == REFUSED:
        raise _taken(begun.email)
    return begun


def _claim_and_finish(draft: User) -> User:
    try:
        _claim(draft.email, draft.user_id)
    except EmailTaken:
        users.change(draft, {"state": REFUSED})
        raise
    user = _finish(draft)
    if user.state == REFUSED:
        raise Contended("It took so long to create the user that it was given up.")
    return user


def _taken(email: str) -> EmailTaken:
    return EmailTaken(f"{email} belongs to another user.", param="email")


def _claim(email: str, user_id: UUID) -> None:
    key = normalise(email)
    if claims.take(EMAIL, key, user_id, lambda other: stands_behind(other, key)) != user_id:
        raise _taken(email)


def normalise(email: str) -> str:
    """Return the e-mail as it is compared."""
    return email.casefold()


def _finish(user: User) -> User:
    """Make a draft that holds its e-mail active and list it; harmless when it is done twice."""
    listings.add(listings.USERS, listings.ALL, user.user_id, user.created_at)
    users.change(user, {"state": ACTIVE})
    return _read(user.user_id)


def _read(user_id: UUID) -> User:
    user = users.find(user_id, serial=True)
    if user is None:
        raise OutcomeUnknown("The user was written, but can't be read.")
    return user


def stands_behind(user_id: UUID, key: str) -> bool:
    """Tell whether a user who holds the claim of an e-mail still has or wants it; what was left undone is finished."""
    user = users.find(user_id, serial=True)
    if user is None or not wants_email(user, key):
        return False
    if user.pending_email is not None and normalise(user.pending_email) == key:
        return users.change(user, {"email": user.pending_email, "pending_email": None}) or stands_behind(user_id, key)
    if user.state == DRAFT:
        return bool(_finish(user).state == ACTIVE)
    return True


def wants_email(user: User, key: str) -> bool:
    """Tell whether a user has an e-mail (as it is compared), or has asked for it and still may get it."""
    emails = [email for email in (user.email, user.pending_email) if email is not None]
    return user.state in (DRAFT, ACTIVE) and key in map(normalise, emails)


def get(user_id: UUID) -> User:
    """Return a user. Raises `UserNotFound`."""
    user = users.find(user_id)
    if user is not None and user.state == DRAFT:
        user = _recover(user)
    if user is None or user.state != ACTIVE:
        raise UserNotFound(f"There is no user {user_id}.", user_id=str(user_id))
    return user


def _recover(draft: User) -> User | None:
    """Finish a draft that holds its e-mail; one that does not was never created."""
    claim = claim_rows.find(EMAIL, normalise(draft.email))
    if claim is None or claim.holder_id != draft.user_id:
        return None
    return _finish(draft)


def find_page(*, limit: int, cursor: str | None) -> Page[User]:
    """Return users, newest first."""
    return collect(
        listings.USERS,
        listings.ALL,
        users.find_many,
        cursor=cursor,
        limit=limit,
        keep=lambda user: bool(user.state == ACTIVE),
    )


def change(user_id: UUID, changes: dict[str, Any], version: int | None) -> User:
    """Change a user's name or e-mail, if the user still has this version.

    A new e-mail is noted as pending, then claimed (from here on it is changed), then it takes the old one's place,
    whose claim is given up. Raises `UserNotFound`, `VersionStale`, `EmailTaken`.
    """
    for _ in conditional.pauses():
        user = get(user_id)
        check_version(user.version, version)
        email = changes.get("email", user.email)
        if normalise(email) != normalise(user.email):
            changed = _change_email(user, changes)
        else:
            changed = users.change(user, changes | {"updated_at": clocks.now()})
        if changed:
            return _read(user_id)
    raise Contended("Others keep changing this user; nothing was changed.")


def _change_email(user: User, changes: dict[str, Any]) -> bool:
    if not users.change(user, {"pending_email": changes["email"]}):
        return False
    pending = _read(user.user_id)
    with outcomes.located(f"/users/{user.user_id}"):
        try:
            _claim(changes["email"], user.user_id)
        except EmailTaken:
            users.change(pending, {"pending_email": None})
            raise
        old = claims.find_held(EMAIL, normalise(user.email), user.user_id)
        values = changes | {"pending_email": None, "updated_at": clocks.now()}
        if not users.change(pending, values):
            return False
        claims.give_up(old)
    return True


def delete(user_id: UUID, version: int | None) -> None:
    """Forget a user's name and e-mail; the orders stay. Raises `UserNotFound`, `VersionStale`."""
    for _ in conditional.pauses():
        user = get(user_id)
        check_version(user.version, version)
        claim = claims.find_held(EMAIL, normalise(user.email), user_id)
        forgotten = {"state": DELETED, "name": None, "email": None, "pending_email": None, "updated_at": clocks.now()}
        if users.change(user, forgotten):
            _unlist(user, claim)
            return
    raise Contended("Others keep changing this user; nothing was changed.")


def _unlist(user: User, claim: Claim | None) -> None:
    try:
        claims.give_up(claim)
        listings.remove(listings.USERS, listings.ALL, user.user_id, user.created_at)
    except (DatabaseUnavailable, OutcomeUnknown):
        return  # a dead claim is taken over by the next who wants it; a dead listing row is left out
