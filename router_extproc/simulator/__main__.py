"""``python -m router_extproc.simulator --config FILE``: serve, and say on one line of JSON where."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

from router_extproc.errors import ConfigurationError, StartError
from router_extproc.simulator.configuration import load_config
from router_extproc.simulator.server import run


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 0 after an orderly end, 2 for a configuration or a port that cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m router_extproc.simulator", description="Serve simulated LLM providers.")
    parser.add_argument("--config", type=Path, required=True, help="JSON file; see README.md in this package")
    options = parser.parse_args(arguments)
    try:
        run(load_config(options.config), ready=_announce)
    except (ConfigurationError, StartError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


def _announce(ports: Mapping[str, int]) -> None:
    sys.stdout.write(msgspec.json.encode({"ready": ports}).decode() + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
