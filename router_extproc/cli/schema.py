"""``router-extproc schema``: the JSON Schema with which editors complete and check ``router.yaml``."""

from __future__ import annotations

import argparse
import sys

from router_extproc.config.json_schema import json_schema_text

NAME = "schema"
HELP = "print the JSON Schema of router.yaml"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """There are no options; the help says how an editor finds the schema."""
    parser.epilog = "Write it to a file and begin router.yaml with `# yaml-language-server: $schema=FILE`."


def run(_arguments: argparse.Namespace) -> int:
    """Prints the schema."""
    sys.stdout.write(json_schema_text())
    return 0
