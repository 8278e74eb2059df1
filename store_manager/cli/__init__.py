"""The command line: which verbs there are, and how an error is said.

Each group of verbs stands in a file of its own and is imported only when it is used, so that one verb does not wait
for, or break with, what another one needs. What the verbs do stands elsewhere.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

import click

from store_manager.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping

COMMANDS: Mapping[str, tuple[str, str]] = {
    "run": ("run", "Start the store on this machine, on a Cassandra of its own."),
    "reset": ("run", "Remove all data of `run`."),
    "serve": ("serve", "Serve the API on a Cassandra that runs elsewhere."),
    "schema": ("schema", "Bring a keyspace in line with the Models."),
    "sample": ("sample", "Load a few products, their stock and a customer."),
    "recover": ("recover", "Finish what crashes left of orders."),
    "audit": ("audit", "Check every invariant of a store while it sells."),
    "cluster": ("cluster", "How the nodes of any cluster are, and their upkeep: repair."),
    "settings": ("settings", "Print the settings in force."),
    "lab": ("lab", "A real Cassandra on this machine, one node or several."),
}
"""Each verb: the module of this package that has it under its name, and what it does."""


class CommandMissing(StoreError):
    """This installation lacks what a command needs."""

    code = "COMMAND_MISSING"


class Commands(click.Group):
    """The verbs, each imported when it is used; an error of the store ends any of them with one line and status 1."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """Return the verbs in the order in which a newcomer meets them."""
        return list(COMMANDS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the verb; CommandMissing says which verbs this installation was made without."""
        return _import_command(cmd_name) if cmd_name in COMMANDS else None

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> object:
        """Run the verb."""
        try:
            return super().invoke(ctx)
        except StoreError as error:
            raise click.ClickException(error.message) from error


@click.command(cls=Commands)
@click.version_option(package_name="store-manager")
def main() -> None:
    """Store Manager: the API of a store on Apache Cassandra."""


def _import_command(name: str) -> click.Command:
    module, _ = COMMANDS[name]
    try:
        command: click.Command = getattr(import_module(f"{__name__}.{module}"), name)
    except ModuleNotFoundError as error:
        message = f"`store-manager {name}` is not part of this installation, which has no {error.name}"
        raise CommandMissing(f"{message}: run it from a checkout of the project") from error
    return command
