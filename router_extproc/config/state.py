"""Where an instance keeps its local state: ``.router-extproc/`` beside ``router.yaml``.

Paths only: who writes a file and what stands in it is known to the room that owns it. Everything another process reads
is written under a temporary name and put in place with ``os.replace``.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from router_extproc.errors import StartError

DIRECTORY_NAME = ".router-extproc"
# sun_path holds 108 bytes, the last of them zero (unix(7)).
LONGEST_SOCKET_PATH = 107
_LONGEST_SOCKET_NAME = "worker-999.4194304.sock.new"
_PRIVATE = 0o700


@dataclass(frozen=True)
class StateDirectory:
    """The layout below ``root``, an absolute path; ``create`` makes the directories."""

    root: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", Path(os.path.abspath(self.root)))  # noqa: PTH100 - a symlinked directory keeps its name

    @classmethod
    def beside(cls, configuration: Path | str) -> StateDirectory:
        """The state of the instance that serves this ``router.yaml``."""
        return cls(Path(configuration).parent / DIRECTORY_NAME)

    @property
    def instance(self) -> Path:
        """Process ids and addresses of the running instance."""
        return self.root / "instance.json"

    @property
    def stopping(self) -> Path:
        """A file that is there while the instance stops."""
        return self.root / "stopping"

    @property
    def snapshot(self) -> Path:
        """The compiled registry that workers read."""
        return self.root / "snapshot.json"

    @property
    def health(self) -> Path:
        """The deployments' health, written by the observer."""
        return self.root / "health.json"

    @property
    def observer_options(self) -> Path:
        """What the supervisor tells the observer."""
        return self.root / "observer.json"

    @property
    def probes(self) -> Path:
        """One file for each half-open probe that was claimed."""
        return self.root / "probes"

    @property
    def lives(self) -> Path:
        """One file for each life of Envoy in which something may be set aside."""
        return self.root / "lives"

    @property
    def envoy(self) -> Path:
        """Envoy's rendered configuration."""
        return self.root / "envoy"

    @property
    def secrets(self) -> Path:
        """One secret file for each cluster that has a key; readable by the owner only."""
        return self.envoy / "secrets"

    @property
    def logs(self) -> Path:
        """Log files."""
        return self.root / "logs"

    @property
    def envoy_log(self) -> Path:
        """Envoy's own log."""
        return self.logs / "envoy.log"

    @property
    def access_log(self) -> Path:
        """Envoy's access log, one JSON line for each request and attempt."""
        return self.logs / "access.jsonl"

    @property
    def decision_log(self) -> Path:
        """The decision log, one JSON line for each request."""
        return self.logs / "decisions.jsonl"

    @property
    def decision_database(self) -> Path:
        """The decision log in SQLite."""
        return self.root / "decisions.sqlite"

    @property
    def ledger(self) -> Path:
        """What every call cost, and the totals that budgets go by; written by the observer, and in it workers set aside."""
        return self.root / "ledger.sqlite"

    @property
    def identities(self) -> Path:
        """Keys that were made at run time, raises of budgets, and the audit log; written by the observer."""
        return self.root / "identities.sqlite"

    @property
    def keys_exist(self) -> Path:
        """A file that is there since the first key was made at run time; the supervisor watches for it."""
        return self.root / "keys_exist"

    @property
    def alerts(self) -> Path:
        """Alerts about budgets, and which of them are still to be delivered; written by the observer."""
        return self.root / "alerts.sqlite"

    @property
    def sockets(self) -> Path:
        """Unix sockets: below ``root``, or in a short private directory when their paths would be too long there."""
        fingerprint = hashlib.sha256(os.fsencode(self.root)).hexdigest()[:16]
        name = f"router-extproc-{os.getuid()}-{fingerprint}"
        shortest = Path("/tmp") / name  # noqa: S108 - a private directory, and `create` refuses a foreign one
        for directory in (self.root / "sockets", Path(tempfile.gettempdir()) / name):
            if len(os.fsencode(directory / _LONGEST_SOCKET_NAME)) <= LONGEST_SOCKET_PATH:
                return directory
        return shortest

    @property
    def observer_socket(self) -> Path:
        """Where Envoy sends its access logs."""
        return self.sockets / "observer.sock"

    def worker_socket(self, index: int) -> Path:
        """The address of a worker: a symlink to the socket of the process that serves it now."""
        return self.sockets / f"worker-{index}.sock"

    def worker_process_socket(self, index: int, process_id: int) -> Path:
        """The socket of one worker process."""
        return self.sockets / f"worker-{index}.{process_id}.sock"

    def create(self) -> None:
        """Makes the directories, readable by the owner only where keys or sockets are.

        Raises:
            StartError: a directory cannot be made, or a foreign one stands in its place.
        """
        try:
            for directory in (self.root, self.probes, self.envoy, self.logs):
                directory.mkdir(parents=True, exist_ok=True)
            for directory in (self.secrets, self.sockets):
                directory.mkdir(mode=_PRIVATE, exist_ok=True)
                _refuse_foreign(directory)
        except OSError as error:
            raise StartError(f"the state directory {self.root} cannot be made: {error.strerror}") from error


def _refuse_foreign(directory: Path) -> None:
    """Makes sure that nobody else prepared the directory: below the temp directory its name can be guessed."""
    status = directory.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        raise StartError(f"{directory} belongs to somebody else: remove it or set TMPDIR")
    if stat.S_IMODE(status.st_mode) & 0o077:
        directory.chmod(_PRIVATE)


def find_instance(start: Path | str = ".") -> StateDirectory | None:
    """The instance running at ``start`` or the nearest directory above it that has one; None when there is none."""
    here = Path(os.path.abspath(start))  # noqa: PTH100 - as in StateDirectory
    for directory in (here, *here.parents):
        state = StateDirectory(directory / DIRECTORY_NAME)
        if state.instance.is_file():
            return state
    return None
