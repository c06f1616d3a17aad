"""The classifier: every reader of texts that the artefact holds, loaded once in a process and shared by all requests.

Rules of this file
- A reader that the artefact does not have is None, and its facts are unknown: then the router decides for the stronger model.
- Nothing is loaded before ``load`` is called.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from router_extproc.analysis import injection, risk, tasks
from router_extproc.analysis.encoders import Encoder
from router_extproc.analysis.encoders.static import StaticEncoder
from router_extproc.analysis.heads import InjectionReader, RiskReader, RoutingReader, TaskReader
from router_extproc.analysis.injection import InjectionHead
from router_extproc.analysis.location import artefact_folder
from router_extproc.analysis.risk import RiskHead
from router_extproc.analysis.routing import ROUTING_FILE, RoutingHead
from router_extproc.analysis.tasks import TaskHead

_Head = TypeVar("_Head")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Classifier:
    """The readers, and the folder they come from. ``Classifier()`` has none."""

    folder: Path = Path()
    encoder: StaticEncoder | None = None
    routing: RoutingReader | None = None
    tasks: TaskReader | None = None
    risk: RiskReader | None = None
    injection: InjectionReader | None = None

    @classmethod
    def load(cls, folder: Path | None = None) -> Classifier:
        """The classifier of an artefact; without a folder the shipped one.

        Raises:
            OSError: a file cannot be read.
            ValueError: files are of another version, or do not belong together.
        """
        folder = artefact_folder({}) if folder is None else folder
        return cls(
            folder=folder,
            encoder=StaticEncoder.load(folder),
            routing=_load(RoutingHead.load, folder, ROUTING_FILE),
            tasks=_load(TaskHead.load, folder, tasks.FILE),
            risk=_load(RiskHead.load, folder, risk.FILE),
            injection=_load(InjectionHead.load, folder, injection.FILE),
        )

    def encoder_named(self, name: str) -> Encoder:
        """The encoder of this name: the one all heads share, or another, loaded now.

        Raises:
            OSError: its files are not there.
        """
        if self.encoder is not None and name == self.encoder.name:
            return self.encoder
        from router_extproc.analysis.encoders import minilm  # noqa: PLC0415 - only who asks for it pays for it

        return minilm.MinilmEncoder.load(self.folder / minilm.GRAPH_FILE, self.folder)


NOTHING_LEARNED = Classifier()


def _load(load: Callable[[Path], _Head], folder: Path, file: str) -> _Head | None:
    if not (folder / file).exists():
        return None
    try:
        return load(folder)
    except KeyError as error:
        raise ValueError(f"{folder / file} is of another version: it lacks {error}") from None
