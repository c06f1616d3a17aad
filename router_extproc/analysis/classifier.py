"""The classifier: every reader of texts that the artefact holds, loaded once in a process and shared by all requests.

Rules of this file
- A reader whose files are missing is None, and its facts are unknown: then the router decides for the stronger model.
- Nothing is loaded before ``load`` is called.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from router_extproc.analysis.encoders.static import StaticEncoder
from router_extproc.analysis.encoding import TextEncoding
from router_extproc.analysis.heads import InjectionReader, RiskReader, RoutingReader, TaskReader
from router_extproc.analysis.location import artefact_folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Classifier:
    """The readers. ``Classifier()`` has none."""

    encoder: StaticEncoder | None = None
    encode: Callable[[str], Any] | None = None
    read_conversation: Callable[[Any], Any] | None = None
    read_surface: Callable[[str], Any] | None = None
    read_language: Callable[[str], Any] | None = None
    routing: RoutingReader | None = None
    tasks: TaskReader | None = None
    risk: RiskReader | None = None
    injection: InjectionReader | None = None

    @classmethod
    def load(cls, folder: Path | None = None) -> Classifier:
        """The classifier of an artefact; without a folder the shipped one.

        Raises:
            OSError: a file cannot be read.
            ValueError: files do not belong together.
        """
        folder = artefact_folder({}) if folder is None else folder
        encoder = StaticEncoder.load(folder)
        return cls(encoder=encoder, encode=lambda text: TextEncoding(text, encoder))


NOTHING_LEARNED = Classifier()
