"""``router-extproc schema``: the JSON Schemas with which editors and log readers check what they read."""

from __future__ import annotations

import argparse
import sys
from importlib import resources

# Both are checked in and carried by the package; tests prove them fresh.
_FILES = {
    "router": ("router_extproc.config", "data/router.schema.json"),
    "decision": ("router_extproc.observer", "data/decision.schema.json"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options; the help says how an editor finds the schema."""
    parser.add_argument(
        "document",
        nargs="?",
        choices=tuple(_FILES),
        default="router",
        help="router: router.yaml (default); decision: one line of the decision log",
    )
    parser.epilog = (
        "For an editor: router-extproc schema > router.schema.json\n"
        "and begin router.yaml with `# yaml-language-server: $schema=router.schema.json`."
    )


def run(arguments: argparse.Namespace) -> int:
    """Prints the schema."""
    package, path = _FILES[arguments.document]
    sys.stdout.write(resources.files(package).joinpath(path).read_text(encoding="utf-8"))
    return 0
