"""``router-extproc serve``: workers and observer beside an Envoy that somebody else runs, as in a sidecar."""

from __future__ import annotations

import argparse

from router_extproc.cli.up import add_instance_arguments, run_instance


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    add_instance_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Runs until SIGTERM or Ctrl-C. Envoy reads its files from ``envoy/`` below the state directory."""
    return run_instance(arguments, with_envoy=False)
