"""One hash for a module and all of this package that it imports: whether a stage's code has changed."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
from pathlib import Path

# Other rooms carry no training logic; errors.py and the like may change without a retraining.
_ROOMS = ("router_extproc.analysis", "router_extproc.training")


def source_hash(module: str) -> str:
    """The SHA-256 over the sources of ``module`` and, transitively, of what it imports from analysis and training."""
    digest = hashlib.sha256()
    for name, path in sorted(_closure(module).items()):
        digest.update(f"{name}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _closure(module: str) -> dict[str, Path]:
    found: dict[str, Path] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in found or not name.startswith(_ROOMS):
            continue
        path = _file_of(name)
        if path is None:
            continue
        found[name] = path
        waiting.extend(_imports(path))
    # The pipeline itself hands data to every stage, but a new progress line must not retrain everything.
    return {name: path for name, path in found.items() if not name.endswith((".pipeline", ".progress", ".source_hash"))}


def _file_of(module: str) -> Path | None:
    try:
        found = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        return None
    return Path(found.origin) if found is not None and found.origin else None


def _imports(path: Path) -> list[str]:
    """The modules that a file imports; ``from a import b`` may mean the module a.b, so both are named."""
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            names.extend(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.append(node.module)
            names.extend(f"{node.module}.{alias.name}" for alias in node.names)
    return names
