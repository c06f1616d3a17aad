"""``router-extproc simulate``: providers to develop and test against, with scripted faults and without any key."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from router_extproc.simulator import SimulatedDeployment, SimulatorConfig, load_config
from router_extproc.simulator import run as run_simulators


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--config", type=Path, metavar="FILE", help="JSON file that describes the deployments")
    source.add_argument(
        "--port",
        type=int,
        metavar="PORT",
        default=9101,
        help="port of one provider that serves any model (default: %(default)s)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Serves until SIGTERM or Ctrl-C; requests may script faults with the header ``x-simulate``."""
    if arguments.config is not None:
        config = load_config(arguments.config)
    else:
        config = SimulatorConfig(deployments=(SimulatedDeployment(name="simulated", port=arguments.port),), obey_header=True)
    run_simulators(config, ready=_announce)
    return 0


def _announce(ports: Mapping[str, int]) -> None:
    for name, port in ports.items():
        print(f"{name}: http://127.0.0.1:{port}/v1", flush=True)
