"""Where the files and sockets lie that Envoy's configuration names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class Directories(Protocol):
    """What a state directory offers."""

    @property
    def envoy(self) -> Path:
        """The directory that the rendered files are written to."""

    @property
    def sockets(self) -> Path:
        """The directory of the workers' and the observer's Unix sockets."""

    @property
    def logs(self) -> Path:
        """The directory of Envoy's access log."""


@dataclass(frozen=True)
class Folders:
    """Directories of one's own choice."""

    envoy: Path
    sockets: Path
    logs: Path


@dataclass(frozen=True)
class Layout:
    """The absolute or relative paths written into the configuration, complete."""

    listeners: Path
    routes: Path
    clusters: Path
    script: Path
    usage_script: Path
    answered_script: Path
    undecided_script: Path
    secrets: Path
    workers: tuple[Path, ...]
    observer: Path
    access_log: Path

    @classmethod
    def of(cls, directories: Directories, workers: int, form: str = "json") -> Layout:
        """The layout below a state directory, with ``workers`` decider sockets; ``form`` is ``json`` or ``yaml``."""
        return cls(
            listeners=directories.envoy / f"lds.{form}",
            routes=directories.envoy / f"rds.{form}",
            clusters=directories.envoy / f"cds.{form}",
            script=directories.envoy / "router.lua",
            usage_script=directories.envoy / "usage.lua",
            answered_script=directories.envoy / "answered.lua",
            undecided_script=directories.envoy / "undecided.lua",
            secrets=directories.envoy / "secrets",
            workers=tuple(directories.sockets / f"worker-{index}.sock" for index in range(workers)),
            observer=directories.sockets / "observer.sock",
            access_log=directories.logs / "access.jsonl",
        )
