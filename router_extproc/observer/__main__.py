"""The observer process: ``python -m router_extproc.observer --state DIR``; started by the supervisor."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

import setproctitle
import uvloop
from prometheus_client import disable_created_metrics

from router_extproc.config.state import StateDirectory
from router_extproc.errors import RouterError
from router_extproc.observer.server import Observer
from router_extproc.telemetry.json_lines import configure_logging

NAME = "router-extproc-observer"


def main() -> int:
    """Runs the observer until it is told to stop; 0 after a clean end, 1 when it cannot start."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--state", type=Path, required=True, help="the state directory")
    parser.add_argument("--ready-fd", type=int, help="descriptor to write `ready` and `draining` to")
    options = parser.parse_args()
    setproctitle.setproctitle(NAME)
    configure_logging(NAME)
    # Each counter's time of creation would double the figures, and Prometheus's text format has no use for it.
    disable_created_metrics()  # type: ignore[no-untyped-call] # prometheus-client leaves it untyped
    try:
        observer = Observer(StateDirectory(options.state))
    except (RouterError, OSError) as error:
        sys.stderr.write(f"{NAME}: {error}\n")
        return 1
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(observer.run(options.ready_fd))
    return 0


if __name__ == "__main__":
    sys.exit(main())
