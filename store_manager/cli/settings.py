"""`store-manager settings`: the values in force, or the reference of all settings.

Thin: what a setting is stands in `store_manager.settings`.
"""

from __future__ import annotations

import click

from store_manager.settings import SETTINGS, describe_as_env, describe_as_markdown, load, write_value


@click.command()
@click.option("--markdown", "form", flag_value="markdown", help="Print the reference of all settings instead.")
@click.option("--env", "form", flag_value="env", help="Print a .env file of all defaults instead.")
def settings(form: str | None) -> None:
    """Print the value of every setting that is in force here; secrets stay hidden."""
    writers = {"markdown": describe_as_markdown, "env": describe_as_env, None: _describe_values}
    click.echo(writers[form](), nl=False)


def _describe_values() -> str:
    loaded = load()
    values = {one: write_value(getattr(loaded, one.attribute)) for one in SETTINGS}
    return "".join(f"{one.name}={'***' if one.secret and value else value}\n" for one, value in values.items())
