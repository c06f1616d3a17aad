"""``router-extproc budgets``: what is reserved, settled and left, and a raise for a while."""

from __future__ import annotations

import argparse
import functools
import json
from typing import Any
from urllib.parse import quote

from router_extproc.cli.admin_client import AdminClient, add_instance_argument, add_json_argument, table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    layout = functools.partial(argparse.RawDescriptionHelpFormatter, max_help_position=30)
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True, help="show or raise; each has --help")
    make = functools.partial(actions.add_parser, formatter_class=layout, allow_abbrev=False)
    show = make("show", help="how full budgets are")
    show.add_argument("--tenant", help="only those that this tenant falls under, and their sum")
    grow = make("raise", help="add an amount to a budget for a while")
    grow.add_argument("name", metavar="NAME", help="what `budgets show` calls the budget")
    amount = grow.add_mutually_exclusive_group(required=True)
    amount.add_argument("--usd", metavar="AMOUNT", help="as in 12.50")
    for unit in ("tokens", "requests", "parallel", "iterations"):
        amount.add_argument(f"--{unit}", type=int, metavar="COUNT", help=f"for a budget in {unit}")
    grow.add_argument("--until", required=True, metavar="WHEN", help="2h, or 2026-12-31, or a time")
    grow.add_argument("--since", metavar="WHEN", help="when it begins (default: now)")
    for each in (show, grow):
        add_json_argument(each)
        add_instance_argument(each)


def run(arguments: argparse.Namespace) -> int:
    """Does what was asked; errors are raised."""
    client = AdminClient.found(arguments.state)
    {"show": _show, "raise": _raise}[arguments.action](client, arguments)
    return 0


def _show(client: AdminClient, arguments: argparse.Namespace) -> None:
    shown = client.get("/budgets", {"tenant": arguments.tenant})
    if arguments.json:
        print(json.dumps(shown))
        return
    if arguments.tenant is not None:
        left = "no budget" if shown["remaining_usd"] is None else f"{shown['remaining_usd']} USD left"
        print(f"{arguments.tenant}: {shown['settled_usd']} USD settled, {shown['reserved_usd']} USD reserved, {left}")
    names = ("cap", "reserved", "settled", "remaining")
    rows = [
        (
            budget["name"],
            budget["scope"],
            budget["window"],
            budget["unit"],
            *(str(_figure(budget, name)) for name in names),
            budget["resets_at"] or "never",
        )
        for budget in shown["budgets"]
    ]
    headings = ("NAME", "SCOPE", "WINDOW", "UNIT", "CAP", "RESERVED", "SETTLED", "LEFT", "RESETS")
    print(table(headings, rows) if rows else "no budgets")


def _raise(client: AdminClient, arguments: argparse.Namespace) -> None:
    names = ("usd", "tokens", "requests", "parallel", "iterations", "since", "until")
    written = {name: value for name in names if (value := getattr(arguments, name)) is not None}
    made = client.post(f"/budgets/{quote(arguments.name, safe='')}/raises", written)
    if arguments.json:
        print(json.dumps(made))
        return
    print(f"{made['budget']}: {_figure(made, 'amount')} more from {made['since']} until {made['until']}")


def _figure(shown: dict[str, Any], name: str) -> Any:
    return shown.get(name, shown.get(f"{name}_usd"))
