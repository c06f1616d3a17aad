"""``router-extproc keys``: makes, lists, rotates and revokes virtual keys of the running instance."""

from __future__ import annotations

import argparse
import functools
import json
import sys
from typing import Any
from urllib.parse import quote

from router_extproc.cli.admin_client import AdminClient, add_instance_argument, add_json_argument, table
from router_extproc.cli.budget_arguments import add_window_arguments, budget_name, window_of

WRONG_USE = 2
_PAGE = 1_000
_LISTS = ("models", "routes", "tiers", "regions")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    layout = functools.partial(argparse.RawDescriptionHelpFormatter, max_help_position=30)
    actions = parser.add_subparsers(
        dest="action", metavar="ACTION", required=True, help="create, list, rotate or revoke; each has --help"
    )
    make = functools.partial(actions.add_parser, formatter_class=layout, allow_abbrev=False)
    _add_create(make("create", help="make a key, and show it once"))
    listing = make("list", help="show all keys, without their secrets")
    listing.add_argument("--tenant", help="only this tenant's")
    rotate = make("rotate", help="give a key another secret, and show it once")
    rotate.add_argument("id", metavar="ID", help="what `keys list` calls the key")
    rotate.add_argument(
        "--overlap", metavar="DURATION", default="0s", help="how long the old secret goes on (default: not at all)"
    )
    revoke = make("revoke", help="end a key now, on every instance within a second")
    revoke.add_argument("id", metavar="ID", help="what `keys list` calls the key")
    for each in (listing, rotate, revoke):
        add_json_argument(each)
        add_instance_argument(each)


def run(arguments: argparse.Namespace) -> int:
    """Does what was asked; errors are raised."""
    client = AdminClient.found(arguments.state)
    {"create": _create, "list": _list, "rotate": _rotate, "revoke": _revoke}[arguments.action](client, arguments)
    return 0


def _add_create(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tenant", required=True, help="who pays; one that is not known yet begins to exist")
    parser.add_argument("--team", help="a label for budgets and the ledger")
    parser.add_argument("--user", help="another")
    parser.add_argument("--tag", action="append", default=[], metavar="NAME=VALUE", help="further labels; may be repeated")
    parser.add_argument("--expires", metavar="WHEN", help="30d, or 2026-12-31, or a time (default: never)")
    parser.add_argument("--budget-usd", metavar="AMOUNT", help="what may be spent with this key, as in 12.50")
    add_window_arguments(parser)
    for name in _LISTS:
        parser.add_argument(f"--{name}", metavar="A,B", help=f"only these {name}; names may end in * (default: the tenant's)")
    parser.add_argument("--features", metavar="A,B", help="feature flags that are on for this key")
    parser.add_argument(
        "--priority", choices=("interactive", "batch"), help="who waits under saturation (default: the tenant's)"
    )
    add_json_argument(parser)
    add_instance_argument(parser)


def described(arguments: argparse.Namespace) -> dict[str, Any]:
    """The key as the admin API reads it.

    Raises:
        SystemExit: a tag is not NAME=VALUE or written twice, a list is empty, a window is no window or has no budget.
    """
    tags: dict[str, str] = {}
    for written in arguments.tag:
        name, equals, value = written.partition("=")
        if not equals or not name:
            raise SystemExit(_wrong_use(f"--tag {written}: write NAME=VALUE"))
        if name in tags:
            raise SystemExit(_wrong_use(f"--tag {written}: {name} is {tags[name]} already; a tag has one value"))
        tags[name] = value
    lists = {name: _names(arguments, name) for name in (*_LISTS, "features") if getattr(arguments, name) is not None}
    budgets = {}
    if arguments.budget_usd is None and (arguments.window is not None or arguments.timezone is not None):
        raise SystemExit(_wrong_use("a window belongs to a budget: write --budget-usd AMOUNT beside it"))
    if arguments.budget_usd is not None:
        try:
            window = window_of(arguments)
        except ValueError as error:
            raise SystemExit(_wrong_use(str(error))) from None
        budgets = {budget_name(arguments): {"usd": arguments.budget_usd, **({"window": window} if window is not None else {})}}
    found = {
        "tenant": arguments.tenant,
        "team": arguments.team,
        "user": arguments.user,
        "tags": tags or None,
        "expires": arguments.expires,
        "permissions": {name: names for name, names in lists.items() if name in _LISTS} or None,
        "features": lists.get("features"),
        "priority": arguments.priority,
        "budgets": budgets or None,
    }
    return {name: value for name, value in found.items() if value is not None}


def _create(client: AdminClient, arguments: argparse.Namespace) -> None:
    made = client.post("/keys", described(arguments))
    if "notice" in made:
        print(f"router-extproc keys: {made['notice']}", file=sys.stderr)
    if arguments.json:
        print(json.dumps(made))
        return
    print(made["key"])
    for budget in made["budgets"]:
        print(f"budget {budget['name']}: {budget['cap_usd']} USD, {budget['window']}")
    print(f"This is the only time that the key is shown. It is called {made['id']}.")


def _list(client: AdminClient, arguments: argparse.Namespace) -> None:
    keys: list[dict[str, Any]] = []
    after: str | None = ""
    while after is not None:
        page = client.get("/keys", {"tenant": arguments.tenant, "limit": _PAGE, "after": after})
        keys += page["keys"]
        after = page["next"]
    if arguments.json:
        print(json.dumps({"keys": keys}))
        return
    rows = [(key["id"], key["tenant"], key["state"], key["team"], key["user"], key["expires_at"] or "never") for key in keys]
    print(table(("ID", "TENANT", "STATE", "TEAM", "USER", "EXPIRES"), rows) if rows else "no keys")


def _rotate(client: AdminClient, arguments: argparse.Namespace) -> None:
    made = client.post(f"/keys/{quote(arguments.id, safe='')}/rotate", {"overlap": arguments.overlap})
    if arguments.json:
        print(json.dumps(made))
        return
    print(made["key"])
    print(f"This is the only time that the key is shown. The one before is accepted until {made['previous_valid_until']}.")


def _revoke(client: AdminClient, arguments: argparse.Namespace) -> None:
    key = client.post(f"/keys/{quote(arguments.id, safe='')}/revoke", {})
    print(json.dumps(key) if arguments.json else f"{key['id']} is revoked")


def _names(arguments: argparse.Namespace, option: str) -> list[str]:
    """The names in a list. One without any is an error: the variable was not set that should have held what is allowed."""
    names = [name.strip() for name in getattr(arguments, option).split(",") if name.strip()]
    if not names:
        raise SystemExit(_wrong_use(f"--{option}: names nothing; write A,B, or leave the option out"))
    return names


def _wrong_use(complaint: str) -> int:
    print(f"router-extproc keys: {complaint}", file=sys.stderr)
    return WRONG_USE
