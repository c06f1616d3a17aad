"""The front door: one module for each command, loaded only when it is called.

A command module exports ``add_arguments(parser)`` and ``run(arguments) -> int``; exit codes are 0 (fine), 1 (found
something) and 2 (wrong use).
"""

from __future__ import annotations

import argparse
import importlib
import sys

from router_extproc.errors import ConfigurationError, StartError

# The order in which `--help` shows them: first what a newcomer needs.
COMMANDS = {
    "up": "run everything: Envoy, workers, observer",
    "serve": "run all but Envoy: the sidecar container",
    "validate": "check router.yaml, with file, line, key and fix for each problem",
    "explain": "show how one request would be routed, and why",
    "render": "write Envoy's configuration for router.yaml",
    "schema": "print the JSON Schema of router.yaml",
    "simulate": "run simulated providers with scripted faults",
}

FINE, FOUND_SOMETHING, WRONG_USE = 0, 1, 2


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns its exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(prog="router-extproc", description="Routes LLM traffic behind Envoy.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    chosen = next((word for word in words if not word.startswith("-")), None)
    for name, purpose in COMMANDS.items():
        command = commands.add_parser(name, help=purpose, description=f"{purpose[0].upper()}{purpose[1:]}.")
        if name == chosen:
            importlib.import_module(f"router_extproc.cli.{name}").add_arguments(command)
    parsed = parser.parse_args(words)
    try:
        return int(importlib.import_module(f"router_extproc.cli.{parsed.command}").run(parsed))
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return FOUND_SOMETHING
    except StartError as error:
        print(f"router-extproc: {error}", file=sys.stderr)
        return FOUND_SOMETHING
    except KeyboardInterrupt:
        return 130
