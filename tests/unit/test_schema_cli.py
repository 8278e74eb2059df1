"""The command line's root: verbs are imported when they are used, and an error is one line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from store_manager import cli
from store_manager.errors import StoreError

PACKAGE = Path(cli.__file__).parent


class TooTired(StoreError):
    code = "TOO_TIRED"


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> str:
    """A verb that fails in the store's own way."""

    @click.command()
    def fail() -> None:
        raise TooTired("The store is too tired: let it sleep")

    monkeypatch.setitem(cli.COMMANDS, "fail", ("settings", "Fail."))
    monkeypatch.setattr("store_manager.cli.settings.fail", fail, raising=False)
    return "fail"


def test_an_error_of_the_store_is_one_line_on_standard_error_and_status_1(failing: str) -> None:
    result = CliRunner().invoke(cli.main, [failing])
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", "Error: The store is too tired: let it sleep\n")


def test_a_verb_that_this_installation_was_made_without_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "store_manager.lab", None)
    monkeypatch.delitem(sys.modules, "store_manager.cli.lab", raising=False)
    result = CliRunner().invoke(cli.main, ["lab", "status"])
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: `store-manager lab` is not part of this installation")
    assert result.stderr.count("\n") == 1


def test_an_unknown_verb_is_a_mistake_of_the_caller() -> None:
    result = CliRunner().invoke(cli.main, ["dance"])
    assert result.exit_code == 2
    assert "No such command 'dance'" in result.stderr


def test_the_help_names_every_verb_and_imports_none() -> None:
    script = (
        "import sys; from store_manager.cli import main; main(['--help'], standalone_mode=False); "
        "print(*[name for name in sys.modules if name.startswith(('store_manager.', 'cassandra', 'flask'))])"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60).stdout
    *lines, imported = told.splitlines()
    assert {line.split()[0] for line in lines if line.startswith("  ") and line.split()} >= set(cli.COMMANDS)
    assert set(imported.split()) == {"store_manager.cli", "store_manager.errors"}


def test_every_file_of_verbs_is_reached_and_every_verb_is_there() -> None:
    files = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}
    assert {module for module, _ in cli.COMMANDS.values()} == files
    for name in cli.COMMANDS:
        command = cli.main.get_command(click.Context(cli.main), name)
        assert command is not None
        assert command.help
