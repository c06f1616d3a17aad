"""How a stage tells what it is doing: a bar for counted work, a line for a finding.

A stage knows the protocol alone; whether bars are drawn is the command line's choice.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

Advance = Callable[[int], None]


class Progress(Protocol):
    """Where a stage reports to."""

    def counting(self, title: str, total: int) -> contextlib.AbstractContextManager[Advance]:
        """A bar of ``total`` units; the value entered moves it on by so many."""

    def note(self, text: str) -> None:
        """One line worth reading: a figure, a decision, something left out."""


class SilentProgress:
    """Says nothing; for tests and for use as a library."""

    @contextlib.contextmanager
    def counting(self, title: str, total: int) -> Iterator[Advance]:  # noqa: ARG002 - the protocol's names
        """Counts for nobody."""
        yield lambda _units: None

    def note(self, text: str) -> None:
        """Heard by nobody."""


class BarProgress:
    """Bars and lines on standard error, so that standard output stays for results.

    Without a terminal only the lines are written.
    """

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)

    @contextlib.contextmanager
    def counting(self, title: str, total: int) -> Iterator[Advance]:
        """A bar that lasts as long as the work."""
        columns = (
            TextColumn("  {task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Bars(*columns, console=self._console, transient=True, disable=not self._console.is_terminal) as bars:
            task = bars.add_task(title, total=total)
            yield lambda units: bars.advance(task, units)

    def note(self, text: str) -> None:
        """Printed as it is; square brackets are no markup here."""
        self._console.print(f"  {text}", markup=False)
