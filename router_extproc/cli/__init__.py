"""The front door: one module for each command, loaded only when it is called.

A command module exports ``add_arguments(parser)`` and ``run(arguments) -> int``; exit codes are 0 (fine), 1 (found
something) and 2 (wrong use). Facts go to standard output, complaints to standard error.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import importlib.metadata
import os
import sys

from router_extproc.errors import ConfigurationError, RouterError

# The order in which `--help` shows them: first what a newcomer needs.
COMMANDS = {
    "up": "run everything: Envoy, workers, observer",
    "serve": "run all but Envoy: the sidecar container",
    "validate": "check router.yaml, with file, line, key and fix for each problem",
    "explain": "show how one request would be routed, and why",
    "keys": "make, list, rotate and revoke virtual keys",
    "budgets": "show what is reserved, settled and left; raise one",
    "audit": "show who changed keys, budgets and the file",
    "render": "write Envoy's configuration for router.yaml",
    "schema": "print the JSON Schema of router.yaml or of the decision log",
    "simulate": "run simulated providers with scripted faults",
    "classify": "say what the classifier reads from prompts, one JSON line each",
    "train": "make the classifier from data, or refit it on your own outcomes",
    "evaluate": "measure the classifier: tables, plots, targets",
}

FINE, FOUND_SOMETHING, WRONG_USE = 0, 1, 2
# What a shell reports for a process that SIGINT or SIGPIPE ended.
_INTERRUPTED, _NOBODY_READS = 130, 141

_DESCRIPTION = "Routes LLM traffic behind Envoy: one OpenAI-compatible address in front of many providers."
_EPILOG = """\
start here:
  router-extproc up --demo            simulated providers, no key needed
  router-extproc validate             what is wrong or unwise in ./router.yaml
  router-extproc explain -m "Hello"   where a request would go, and why; nobody is called

exit codes: 0 fine, 1 found something, 2 wrong use
`router-extproc COMMAND --help` shows a command's options.
"""


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns its exit code.

    Raises:
        SystemExit: the command line asks for help (0) or cannot be understood (2).
    """
    words = sys.argv[1:] if arguments is None else arguments
    parsed = _parser(words).parse_args(words)
    try:
        code = int(importlib.import_module(f"router_extproc.cli.{parsed.command}").run(parsed))
        sys.stdout.flush()
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return FOUND_SOMETHING
    except RouterError as error:
        print(f"router-extproc: {error}", file=sys.stderr)
        return FOUND_SOMETHING
    except BrokenPipeError:
        # As in `| head`. The interpreter flushes once more when it ends, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _NOBODY_READS
    except KeyboardInterrupt:
        return _INTERRUPTED
    return code


def _parser(words: list[str]) -> argparse.ArgumentParser:
    """All commands by name, the options of the chosen one alone: the others' modules are not loaded."""
    layout = functools.partial(argparse.RawDescriptionHelpFormatter, max_help_position=30)
    parser = argparse.ArgumentParser(
        prog="router-extproc", description=_DESCRIPTION, epilog=_EPILOG, formatter_class=layout, allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {importlib.metadata.version('router-extproc')}")
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND", required=True)
    chosen = next((word for word in words if not word.startswith("-")), None)
    for name, purpose in COMMANDS.items():
        description = f"{purpose[0].upper()}{purpose[1:]}."
        command = commands.add_parser(name, help=purpose, description=description, formatter_class=layout, allow_abbrev=False)
        if name == chosen:
            importlib.import_module(f"router_extproc.cli.{name}").add_arguments(command)
    return parser
