"""What the process logs, told by the lines that a process writes."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest


def lines_of(script: str, level: str = "INFO", form: str = "json") -> list[str]:
    """Run a script in a process of its own, whose logs are configured, and return what it logged."""
    prelude = f"import logging, structlog; from store_manager import logs; logs.configure({level!r}, {form!r})\n"
    ran = subprocess.run([sys.executable, "-c", prelude + script], capture_output=True, check=True, text=True)
    assert ran.stdout == ""
    return ran.stderr.splitlines()


def events_of(script: str, level: str = "INFO") -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines_of(script, level)]


def test_an_event_is_one_line_of_json_with_its_fields_its_time_and_the_request_s_id() -> None:
    (event,) = events_of(
        "with structlog.contextvars.bound_contextvars(request_id='r-1'):\n"
        "    structlog.get_logger().info('sold', quantity=2, name='a\\nb')"
    )

    assert event.pop("timestamp").endswith("Z")
    assert event == {"event": "sold", "quantity": 2, "name": "a\nb", "level": "info", "request_id": "r-1"}


def test_an_exception_stays_on_its_line() -> None:
    (event,) = events_of(
        "try:\n    1 / 0\n"
        "except ZeroDivisionError as error:\n    structlog.get_logger().error('failed', exc_info=error)"
    )

    assert "ZeroDivisionError" in event["exception"]


def test_libraries_log_in_the_same_form_and_a_driver_without_its_tracebacks() -> None:
    script = (
        "try:\n    1 / 0\nexcept ZeroDivisionError:\n    logging.getLogger({!r}).warning('away %s', 7, exc_info=True)"
    )

    (driver,), (other,) = events_of(script.format("cassandra.cluster")), events_of(script.format("other"))

    assert (driver["event"], driver["logger"], driver["level"]) == ("away 7", "cassandra.cluster", "warning")
    assert "exception" not in driver
    assert "ZeroDivisionError" in other["exception"]


@pytest.mark.parametrize(("level", "seen"), [("DEBUG", 3), ("INFO", 2), ("WARNING", 1), ("ERROR", 0)])
def test_events_below_the_level_are_left_out(level: str, seen: int) -> None:
    script = "log = structlog.get_logger(); log.debug('a'); log.info('b'); log.warning('c')"

    assert len(lines_of(script, level)) == seen


def test_the_console_form_is_text_for_people_without_colours_where_nobody_looks() -> None:
    (line,) = lines_of("structlog.get_logger().info('sold', quantity=2)", form="console")

    assert "sold" in line
    assert "quantity=2" in line
    assert "\x1b" not in line
