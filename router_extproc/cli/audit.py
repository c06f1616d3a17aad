"""``router-extproc audit``: who changed keys, budgets and the file, the newest first."""

from __future__ import annotations

import argparse
import json

from router_extproc.cli.admin_client import AdminClient, add_instance_argument, add_json_argument, table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("--limit", type=int, default=100, metavar="COUNT", help="so many at most (default: %(default)s)")
    parser.add_argument("--before", type=int, metavar="SEQUENCE", help="only older ones than this entry")
    add_json_argument(parser)
    add_instance_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Prints the entries; errors are raised."""
    found = AdminClient.found(arguments.state).get("/audit", {"limit": arguments.limit, "before": arguments.before})
    if arguments.json:
        print(json.dumps(found))
        return 0
    rows = [
        (
            str(entry["sequence"]),
            entry["at"],
            entry["actor"],
            entry["action"],
            entry["subject"],
            " ".join(f"{name}={value}" for name, value in entry["detail"].items()),
        )
        for entry in found["entries"]
    ]
    print(table(("ENTRY", "AT", "BY", "ACTION", "SUBJECT", "DETAIL"), rows) if rows else "no changes")
    return 0
