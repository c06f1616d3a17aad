"""Logs are JSON, one object a line, with what the caller passed and without anything that looks like a credential."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_extproc.telemetry.json_lines import JsonLinesFormatter


@pytest.fixture
def logger() -> Iterator[tuple[logging.Logger, io.StringIO]]:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLinesFormatter("router-extproc-test"))
    log = logging.getLogger("router_extproc.room")
    log.addHandler(handler)
    yield log, stream
    log.removeHandler(handler)


def only_line(stream: io.StringIO) -> dict[str, Any]:
    [line] = stream.getvalue().splitlines()
    return dict(json.loads(line))


def test_a_line_says_who_and_what(logger: tuple[logging.Logger, io.StringIO]) -> None:
    """The fixed keys come first, then what the caller passed."""
    log, stream = logger
    log.warning("took %s s", 3, extra={"child": "envoy", "status": -9})
    line = only_line(stream)
    assert line.pop("at").endswith("Z")
    assert line.pop("pid") > 0
    assert line == {
        "level": "warning",
        "process": "router-extproc-test",
        "logger": "router_extproc.room",
        "message": "took 3 s",
        "child": "envoy",
        "status": -9,
    }


def test_an_exception_is_one_line(logger: tuple[logging.Logger, io.StringIO]) -> None:
    """A traceback does not break the line format."""
    log, stream = logger
    try:
        int("no\nnumber")
    except ValueError:
        log.exception("failed")
    line = only_line(stream)
    assert line["message"] == "failed"
    assert line["exception"].endswith("invalid literal for int() with base 10: 'no\\nnumber'")


def test_a_fixed_key_cannot_be_overwritten(logger: tuple[logging.Logger, io.StringIO]) -> None:
    """What the caller calls ``level`` stands beside the record's own level."""
    log, stream = logger
    log.error("x", extra={"level": "mine", "at": "noon"})
    line = only_line(stream)
    assert (line["level"], line["extra_level"], line["extra_at"]) == ("error", "mine", "noon")


@pytest.mark.parametrize(
    "secret",
    [
        "sk-proj-abcdefghijklmnopqrstuvwx",
        "Bearer canary-token-value",
        "AIzaSyA1234567890abcdefghijk",
        "gsk_abcdefghijklmnopqrst",
    ],
)
def test_what_looks_like_a_credential_is_masked(secret: str, logger: tuple[logging.Logger, io.StringIO]) -> None:
    """In messages, extras and tracebacks alike."""
    log, stream = logger
    try:
        int(f"bad key {secret}")
    except ValueError:
        log.exception("provider said %s", secret, extra={"header": f"authorization: {secret}"})
    assert secret.removeprefix("Bearer ") not in stream.getvalue()
    assert stream.getvalue().count("[redacted]") >= 3
    only_line(stream)


@given(st.dictionaries(st.text(), st.text() | st.binary() | st.floats() | st.none()), st.text())
def test_anything_can_be_logged(extra: dict[str, object], message: str) -> None:
    """Whatever is passed, the line is JSON."""
    record = logging.makeLogRecord({"msg": message, "levelname": "INFO", "name": "x", "given": extra})
    line = JsonLinesFormatter("p").format(record)
    assert "\n" not in line
    assert "given" in json.loads(line)


@pytest.mark.parametrize(("level", "lines"), [("info", ["two"]), ("debug", ["one", "two"]), ("nonsense", ["two"])])
def test_the_environment_sets_the_level(level: str, lines: list[str]) -> None:
    """ROUTER_LOG_LEVEL is obeyed; what is no level is the default, not a crash."""
    program = (
        "import logging; from router_extproc.telemetry.json_lines import configure_logging; configure_logging('p');"
        "logging.debug('one'); logging.info('two')"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env={"ROUTER_LOG_LEVEL": level}
    )
    assert [json.loads(line)["message"] for line in result.stderr.splitlines()] == lines
