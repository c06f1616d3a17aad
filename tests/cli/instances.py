"""A running observer that the commands find, for tests of commands that ask it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from router_extproc.registry.snapshot import Registry, encode_registry
from tests.observer.process import ObserverProcess


@contextmanager
def running_instance(registry: Registry) -> Iterator[Path]:
    """A directory in which an instance of this configuration runs; its state is in ``.router-extproc`` as usual."""
    with tempfile.TemporaryDirectory(prefix="instance-") as folder:
        state = Path(folder) / ".router-extproc"
        observer = ObserverProcess(state, snapshot=False)
        (state / "snapshot.json").write_bytes(encode_registry(registry))
        (state / "instance.json").write_text(json.dumps({"admin": f"http://127.0.0.1:{observer.port}"}))
        try:
            observer.start()
            yield Path(folder)
        finally:
            observer.kill()
