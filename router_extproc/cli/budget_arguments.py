"""Options that describe a budget's window, in the words of router.yaml."""

from __future__ import annotations

import argparse
from typing import Any

from router_extproc.config.values import is_duration

_CALENDAR = ("second", "minute", "hour", "day", "week", "month")
WORDS = (*_CALENDAR, "forever")


def add_window_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument(
        "--window",
        metavar="WINDOW",
        help=f"{', '.join(WORDS[:-1])}: of the calendar; a duration such as 24h: rolling (default: forever)",
    )
    parser.add_argument("--timezone", metavar="ZONE", help="where a calendar window begins, as in Europe/Berlin (default: UTC)")


def window_of(arguments: argparse.Namespace) -> Any:
    """The window as the admin API reads it; None: forever.

    Raises:
        ValueError: it is neither a word nor a duration, or has a zone and no beginning there.
    """
    written, zone = arguments.window, arguments.timezone
    if written is None and zone is None:
        return None
    if written is None:
        raise ValueError("--timezone: belongs to a window of the calendar: write for example --window day beside it")
    if written not in WORDS and not is_duration(written):
        raise ValueError(f"--window {written}: write one of {', '.join(WORDS)}, or a duration such as 24h")
    if zone is not None and written not in _CALENDAR:
        raise ValueError(f"--timezone {zone}: {written} does not begin at a time of day: write one of {', '.join(_CALENDAR)}")
    if zone is not None:
        return {"calendar": written, "timezone": zone}
    return written if written in WORDS else {"rolling": written}


def budget_name(arguments: argparse.Namespace) -> str:
    """What the budget is called: by its window."""
    return arguments.window or "total"
