"""Products, users and their unique values on the real database, crashes between claim and write included."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
import shops

from store_manager.dao import claims as claim_rows
from store_manager.dao import listings
from store_manager.dao import products as product_rows
from store_manager.database import tallies
from store_manager.errors import EmailTaken, ProductNotFound, RequestInvalid, SkuTaken, UserNotFound, VersionStale
from store_manager.models import Product
from store_manager.models.claims import EMAIL, SKU
from store_manager.services import claims, clocks, products, users

pytestmark = pytest.mark.usefixtures("database")


class CrashError(Exception):
    """The process dies here."""


def crash(*_: object, **__: object) -> None:
    raise CrashError


def test_a_product_is_read_as_it_was_written() -> None:
    product = shops.new_product(price=Decimal("0.10"), category="toys", description="Été — 夏")
    read = products.get(product.product_id)
    assert (read.price, read.category, read.description, read.currency) == (Decimal("0.10"), "toys", "Été — 夏", "CAD")


def test_of_many_who_want_one_sku_one_gets_it() -> None:
    sku = shops.new_key()
    outcomes = shops.at_once(10, lambda _: shops.new_product(sku=sku))
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Product"] + ["SkuTaken"] * 9
    [found] = products.find_page(limit=5, cursor=None, sku=sku).items
    assert found.product_id in {getattr(outcome, "product_id", None) for outcome in outcomes}


def test_a_crash_before_the_claim_leaves_nothing_to_see(monkeypatch: pytest.MonkeyPatch) -> None:
    sku = shops.new_key()
    written: list[Product] = []
    with monkeypatch.context() as planted:
        insert = product_rows.insert

        def note_and_insert(product: Product) -> bool:
            written.append(product)
            return insert(product)

        planted.setattr(product_rows, "insert", note_and_insert)
        planted.setattr(claims, "take", crash)
        with pytest.raises(CrashError):
            shops.new_product(sku=sku)
    with pytest.raises(ProductNotFound):
        products.get(written[0].product_id)
    assert shops.new_product(sku=sku).sku == sku


def test_a_crash_after_the_claim_is_finished_by_whoever_meets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for meet in ("read", "claim"):
        sku = shops.new_key()
        with monkeypatch.context() as planted:
            planted.setattr(products, "_finish", crash)
            with pytest.raises(CrashError):
                shops.new_product(sku=sku)
        claim = claim_rows.find(SKU, sku)
        assert claim is not None
        if meet == "claim":
            with pytest.raises(SkuTaken):
                shops.new_product(sku=sku)
        assert products.get(claim.holder_id).sku == sku
        listed = products.find_page(limit=100, cursor=None).items
        assert claim.holder_id in {product.product_id for product in listed}


def test_a_retired_product_is_hidden_and_its_sku_may_be_claimed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    for clean in (True, False):  # and also when the process dies before the claim is given up
        product = shops.new_product()
        with monkeypatch.context() as planted:
            if clean:
                products.retire(product.product_id, None)
            else:
                planted.setattr(products, "_forget", crash)
                with pytest.raises(CrashError):
                    products.retire(product.product_id, None)
        with pytest.raises(ProductNotFound):
            products.get(product.product_id)
        assert shops.new_product(sku=product.sku).product_id != product.product_id


def test_a_change_keeps_what_it_does_not_name_and_clears_what_it_sets_to_null() -> None:
    product = shops.new_product(category="toys", description="old")
    changed = products.change(product.product_id, {"description": None, "name": "New"}, product.version)
    assert (changed.name, changed.description, changed.category) == ("New", None, "toys")
    with pytest.raises(VersionStale):
        products.change(product.product_id, {"name": "Newer"}, product.version)


def test_changes_at_once_are_all_made_or_told_stale() -> None:
    product = shops.new_product()
    changed = shops.at_once(8, lambda number: products.change(product.product_id, {"name": f"n{number}"}, None))
    assert all(isinstance(one, Product) for one in changed)
    assert products.get(product.product_id).version == product.version + 8


def test_products_are_listed_newest_first_and_a_cursor_goes_on() -> None:
    category = shops.new_key()
    made = [shops.new_product(category=category).product_id for _ in range(7)]
    seen, cursor = [], None
    while True:
        page = products.find_page(limit=3, cursor=cursor, category=category)
        seen += [product.product_id for product in page.items]
        if page.next is None:
            break
        cursor = page.next
    assert seen == made[::-1]


def test_a_product_moves_between_categories() -> None:
    old, new = shops.new_key(), shops.new_key()
    product = shops.new_product(category=old)
    products.change(product.product_id, {"category": new}, None)
    assert products.find_page(limit=5, cursor=None, category=old).items == []
    assert [one.product_id for one in products.find_page(limit=5, cursor=None, category=new).items] == [
        product.product_id
    ]


def test_a_search_looks_at_names_and_skus_without_regard_to_case() -> None:
    word = shops.new_key()
    product = shops.new_product(name=f"Big {word.upper()} thing")
    assert [one.product_id for one in products.find_page(limit=5, cursor=None, search=word).items] == [
        product.product_id
    ]


def test_filters_that_no_table_serves_together_are_refused() -> None:
    with pytest.raises(RequestInvalid):
        products.find_page(limit=5, cursor=None, sku="x", category="y")


def test_an_email_is_unique_without_regard_to_case() -> None:
    user = shops.new_user()
    with pytest.raises(EmailTaken):
        shops.new_user(email=user.email.upper())


def test_a_changed_email_is_taken_and_the_old_one_is_free() -> None:
    user, other = shops.new_user(), shops.new_user()
    with pytest.raises(EmailTaken):
        users.change(user.user_id, {"email": other.email}, None)
    assert users.get(user.user_id).email == user.email
    new = f"{shops.new_key()}@example.ca"
    changed = users.change(user.user_id, {"email": new, "name": "J. Doe"}, None)
    assert (changed.email, changed.name) == (new, "J. Doe")
    assert shops.new_user(email=user.email).email == user.email


def test_a_crash_within_a_change_of_email_is_finished_or_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    user, new = shops.new_user(), f"{shops.new_key()}@example.ca"
    with monkeypatch.context() as planted:
        planted.setattr(claims, "find_held", crash)  # after the claim of the new address, before it takes its place
        with pytest.raises(CrashError):
            users.change(user.user_id, {"email": new}, None)
    with pytest.raises(EmailTaken):
        shops.new_user(email=new)
    assert users.get(user.user_id).email == new
    assert shops.new_user(email=user.email).email == user.email


def test_of_many_who_change_to_one_email_one_gets_it() -> None:
    people = [shops.new_user() for _ in range(6)]
    email = f"{shops.new_key()}@example.ca"
    shops.at_once(6, lambda number: users.change(people[number].user_id, {"email": email}, None))
    assert [users.get(person.user_id).email for person in people].count(email) == 1
    claim = claim_rows.find(EMAIL, email)
    assert claim is not None
    assert users.get(claim.holder_id).email == email


def test_a_claim_renewed_by_its_holder_survives_the_late_release_of_the_older_one() -> None:
    user = shops.new_user()
    late = claims.find_held(EMAIL, user.email, user.user_id)
    claims.take(EMAIL, user.email, user.user_id, lambda _: True)
    claims.give_up(late)
    with pytest.raises(EmailTaken):
        shops.new_user(email=user.email)


def test_a_deleted_user_is_forgotten_and_the_email_is_free() -> None:
    user = shops.new_user()
    users.delete(user.user_id, user.version)
    with pytest.raises(UserNotFound):
        users.get(user.user_id)
    assert shops.new_user(email=user.email).user_id != user.user_id
    listed = users.find_page(limit=100, cursor=None).items
    assert user.user_id not in {one.user_id for one in listed}


def test_people_are_listed_newest_first() -> None:
    made = [shops.new_user().user_id for _ in range(3)]
    listed = [user.user_id for user in users.find_page(limit=3, cursor=None).items]
    assert listed == made[::-1]


def test_a_claim_is_held_by_whoever_it_names() -> None:
    value, first, second = shops.new_key(), uuid4(), uuid4()
    assert claims.take(SKU, value, first, lambda _: True) == first
    assert claims.take(SKU, value, second, lambda _: True) == first
    assert claims.take(SKU, value, second, lambda _: False) == second


def test_a_listing_whose_rows_are_all_gone_is_read_in_bounded_pages() -> None:
    scope, first = shops.new_key(), datetime(2020, 1, 1, tzinfo=UTC)
    for number in range(700):
        listings.CATEGORIES.directory.create(scope=scope, day=(first + timedelta(days=number)).date(), shard=0)
    with tallies.tally() as used:
        page = products.find_page(limit=5, cursor=None, category=scope)
    assert (page.items, page.next is None) == ([], False)
    assert used.statements < 700

    rest = products.find_page(limit=5, cursor=page.next, category=scope)
    assert (rest.items, rest.next) == ([], None)


def test_days_without_products_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sparse listing is read through its directory: years without rows cost nothing."""
    scope = shops.new_key()
    asked: list[object] = []
    for year in (2001, 2013, 2026):
        listings.add(listings.CATEGORIES, scope, uuid4(), datetime(year, 5, 5, tzinfo=UTC).replace(tzinfo=None))
    read = listings._read_bucket

    def note_and_read(*args: Any) -> list[listings.Entry]:
        asked.append(args[2])
        return read(*args)

    monkeypatch.setattr(listings, "_read_bucket", note_and_read)
    assert len(listings.walk(listings.CATEGORIES, scope, before=None, limit=10).entries) == 3
    assert len(asked) == 3


def test_a_bucket_is_announced_in_each_keyspace_that_this_process_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one keyspace's directory knows, another's does not."""
    scope, now = shops.new_key(), clocks.now()
    key = uuid4()
    listings.add(listings.CATEGORIES, scope, key, now)
    announced: list[object] = []
    table = replace(listings.CATEGORIES, announced=listings.CATEGORIES.announced)
    monkeypatch.setattr(table.directory, "_get_keyspace", lambda: "another")
    monkeypatch.setattr(table.directory, "create", lambda **values: announced.append(values))
    monkeypatch.setattr(table.rows, "create", lambda **_: None)
    listings.add(table, scope, key, now)
    assert announced
