"""Time that a process is kept from running is told from time that it takes."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path


def test_what_stands_still_takes_no_time() -> None:
    """A process that is stopped for a second has lost one, and whatever it took beside that counts."""
    program = [sys.executable, "-m", "tests.end_to_end.stopwatch"]
    with subprocess.Popen(
        program, cwd=Path(__file__).parents[2], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as watched:
        assert watched.stdin is not None
        assert watched.stdout is not None
        assert watched.stdout.readline() == "running\n"
        began = time.monotonic()
        watched.send_signal(signal.SIGSTOP)
        time.sleep(1)
        watched.send_signal(signal.SIGCONT)
        time.sleep(0.3)
        watched.stdin.write("\n")
        watched.stdin.flush()
        lost, seconds = map(float, watched.stdout.read().split())
        assert lost >= 0.9
        assert seconds <= time.monotonic() - began - 0.9
    assert seconds + lost >= 1.2
