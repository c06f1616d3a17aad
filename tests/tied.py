"""Ties a process to the one that starts it: it is killed when that one ends, however that happens.

A fixture's end is not enough: tests that are killed from outside never come to it. `preexec_fn` would do the same, but
runs Python between fork and exec, which is unsafe once a test has threads; so this file runs first and becomes the command.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1  # prctl(2)


def tied(command: Sequence[str]) -> list[str]:
    """The command line that runs ``command`` tied to this process (on Linux) and under the same id.

    To the kernel the parent is a thread: what a thread starts ends with that thread, so start things from the main one.
    """
    return [sys.executable, "-IS", __file__, str(os.getpid()), *command]


def _become(parent: int, command: Sequence[str]) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it ended before that was asked for
            sys.exit(1)
    os.execvp(command[0], command)  # noqa: S606  # no shell is wanted


if __name__ == "__main__":
    _become(int(sys.argv[1]), sys.argv[2:])
