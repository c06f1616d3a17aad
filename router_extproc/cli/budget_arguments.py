"""Options that describe a budget's window, in the words of router.yaml."""

from __future__ import annotations

import argparse
from typing import Any

WORDS = ("second", "minute", "hour", "day", "week", "month", "forever")


def add_window_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument(
        "--window",
        metavar="WINDOW",
        help=f"{', '.join(WORDS[:-1])}: of the calendar; a duration such as 24h: rolling (default: forever)",
    )
    parser.add_argument("--timezone", metavar="ZONE", help="where a calendar window begins, as in Europe/Berlin (default: UTC)")


def window_of(arguments: argparse.Namespace) -> Any:
    """The window as the admin API reads it; None: forever. What is neither a word nor a duration is refused there."""
    written, zone = arguments.window, arguments.timezone
    if written is None and zone is None:
        return None
    if zone is not None:
        return {"calendar": written, "timezone": zone}
    return written if written in WORDS else {"rolling": written}


def budget_name(arguments: argparse.Namespace) -> str:
    """What the budget is called: by its window."""
    return arguments.window or "total"
