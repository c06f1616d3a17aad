"""The Lua scripts of the Redis store: what must happen at once, in one round trip."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import NamedTuple

Argument = str | int


class Script(NamedTuple):
    """``sha`` is the name by which a server knows the ``text`` once it has seen it."""

    name: str
    text: str
    sha: str


class Command(NamedTuple):
    """One script on keys that lie together. Its last argument is the server process, as the connection knows it."""

    script: Script
    keys: Sequence[str]
    arguments: Sequence[Argument]

    def by_name(self, process: str) -> tuple[Argument, ...]:
        """For a server that has seen the script."""
        return ("EVALSHA", self.script.sha, len(self.keys), *self.keys, *self.arguments, process)

    def by_text(self, process: str) -> tuple[Argument, ...]:
        """For a server that has not; afterwards it has."""
        return ("EVAL", self.script.text, len(self.keys), *self.keys, *self.arguments, process)


@cache
def script(name: str, part: str = "counter") -> Script:
    """Reads one of ``store/lua``; the ``part`` that it shares with others stands before it."""
    folder = files("router_extproc.store") / "lua"
    text = "".join(folder.joinpath(f"{piece}.lua").read_text("utf-8") for piece in (part, name))
    return Script(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())
