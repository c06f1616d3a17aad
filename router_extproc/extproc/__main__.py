"""The worker process: ``python -m router_extproc.extproc --state DIR --index N``; started by the supervisor."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path

import setproctitle
import uvloop

from router_extproc.config.state import StateDirectory
from router_extproc.errors import RouterError
from router_extproc.extproc.deadline import AlarmGuard
from router_extproc.extproc.learned import load_classifier
from router_extproc.extproc.memory import return_large_blocks
from router_extproc.extproc.server import Worker
from router_extproc.telemetry.json_lines import configure_logging


def main() -> int:
    """Runs one worker until it is told to stop; 0 after a clean end, 1 when it cannot start."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--index", type=int, required=True)
    parser.add_argument("--ready-fd", type=int)
    parser.add_argument("--drain-ms", type=int, default=600_000)
    options = parser.parse_args()
    name = f"router-extproc-worker-{options.index}"
    configure_logging(name)
    setproctitle.setproctitle(name)
    return_large_blocks()
    guard = AlarmGuard()
    classifier = load_classifier(os.environ, guard)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            worker = Worker(StateDirectory(options.state), options.index, options.drain_ms / 1_000, classifier, guard)
        except RouterError as error:
            sys.stderr.write(f"{name}: {error}\n")
            return 1
        runner.run(worker.run(options.ready_fd))
    return 0


if __name__ == "__main__":
    sys.exit(main())
