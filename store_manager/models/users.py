"""Users: the people who buy."""

from __future__ import annotations

from cassandra.cqlengine import columns

from store_manager.models.base import StoreModel
from store_manager.models.listings import Listing, ListingDirectory
from store_manager.models.marks import hidden, shown, writable

DRAFT, REFUSED, ACTIVE, DELETED = "DRAFT", "REFUSED", "ACTIVE", "DELETED"


class User(StoreModel):
    """A person who buys. Serves: read by id. One row a partition. Owned by LWT on `version`.

    A row is written as DRAFT and becomes ACTIVE once it holds the claim of its e-mail (REFUSED if another holds it).
    `pending_email` names an address that is being taken. DELETED rows keep the id and forget name and e-mail.
    """

    __table_name__ = "users"

    user_id = shown(columns.UUID(partition_key=True), "The user's id")
    name = writable(
        columns.Text(), "Full name", example="Jane Doe", forgotten=True, minLength=1, maxLength=200, required=True
    )
    email = writable(
        columns.Text(),
        "E-mail address, unique among users, compared without regard to case",
        example="jd@example.ca",
        forgotten=True,
        format="email",
        maxLength=254,
        required=True,
    )
    created_at = shown(columns.DateTime(), "When the user was created, UTC")
    updated_at = shown(columns.DateTime(), "When the user was last changed, UTC")
    pending_email = hidden(columns.Text())
    state = hidden(columns.Text())
    version = hidden(columns.BigInt())
    change_id = hidden(columns.UUID())
    """The write that made this version: proves whose it was when an answer was lost."""
    request_digest = hidden(columns.Text())


class UserListing(Listing):
    """All users, newest first. Serves: `GET /users`. Scope `all`; at most a shard's part of a day's new users."""

    __table_name__ = "user_listing"


class UserListingDirectory(ListingDirectory):
    """Which buckets `user_listing` has. Serves: pages of it. Scope `all`; at most 4 rows a day with new users."""

    __table_name__ = "user_listing_directory"
