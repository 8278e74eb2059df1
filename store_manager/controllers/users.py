"""`/users`: the people who buy. HTTP in, HTTP out; the rules stand in `store_manager.services.users`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask_restx import Namespace

from store_manager.controllers.operations import (
    READS_OTHER,
    Answer,
    Contract,
    StoreResource,
    answer,
    nothing,
    operation,
    path_id,
)
from store_manager.controllers.pages import page_of, page_query
from store_manager.controllers.representations import (
    Input,
    Representation,
    fields_on_change,
    fields_on_create,
    shown_fields,
)
from store_manager.errors import EmailTaken, UserNotFound
from store_manager.models import User
from store_manager.services import users

if TYPE_CHECKING:
    from uuid import UUID

    from flask import Response

    from store_manager.services.request_keys import RequestKey

ns = Namespace("users", description="The people who buy")

USER = Representation("User", shown_fields(User), version="version")
USER_PAGE = page_of("UserPage", "users", USER)
USER_NEW = Input("UserNew", fields_on_create(User))
USER_CHANGE = Input("UserChange", fields_on_change(User), least=1)
USER_QUERY = page_query("UserQuery")


@ns.route("")
class Users(StoreResource):
    """The collection of users."""

    @operation(
        ns,
        Contract(
            "create_user",
            {201: Answer("The user who was created", USER, located=True)},
            body=USER_NEW,
            refuses=(EmailTaken,),
            writes=True,
            keyed=True,
        ),
    )
    def post(self, body: dict[str, Any], key: RequestKey | None) -> Response:
        """Create a user.

        The e-mail address must be free, whatever its case.
        """
        user = users.create(body, key)
        return answer(USER, user, status=201, location=f"/users/{user.user_id}")

    @operation(
        ns, Contract("list_users", {200: Answer("A page of users", USER_PAGE)}, query=USER_QUERY, reads=READS_OTHER)
    )
    def get(self, query: dict[str, Any]) -> Response:
        """List users, newest first."""
        return answer(USER_PAGE, users.find_page(**query))


@ns.route("/<user_id>")
@ns.doc(params=path_id("user_id", "The user's id"))
class OneUser(StoreResource):
    """One user."""

    @operation(ns, Contract("get_user", {200: Answer("The user", USER)}, refuses=(UserNotFound,), reads=READS_OTHER))
    def get(self, user_id: UUID) -> Response:
        """Read a user."""
        return answer(USER, users.get(user_id))

    @operation(
        ns,
        Contract(
            "change_user",
            {200: Answer("The user as he or she is now", USER)},
            body=USER_CHANGE,
            if_match=True,
            refuses=(UserNotFound, EmailTaken),
            writes=True,
        ),
    )
    def patch(self, user_id: UUID, body: dict[str, Any], version: int | None) -> Response:
        """Change a user's name or e-mail address."""
        return answer(USER, users.change(user_id, body, version))

    @operation(
        ns, Contract("delete_user", {204: Answer("Forgotten")}, if_match=True, refuses=(UserNotFound,), writes=True)
    )
    def delete(self, user_id: UUID, version: int | None) -> Response:
        """Forget a user's name and e-mail address.

        The address is free again; the user's orders stay.
        """
        users.delete(user_id, version)
        return nothing()
