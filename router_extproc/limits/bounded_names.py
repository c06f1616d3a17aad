"""Names that strangers choose: short and printable enough for metadata, counters and logs, and no two of them the same."""

from __future__ import annotations

import hashlib


def bounded(name: str, longest: int) -> str:
    """The name without blanks around it, of ``longest`` characters at the most, which are 66 or more.

    A longer one, or one with letters that cannot be printed, is cut and told apart by its hash: a name that only looks like
    another must never count, or be let in, as that one.
    """
    name = name.strip()
    if len(name) <= longest and name.isprintable():
        return name
    digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:32]
    return f"{''.join(filter(str.isprintable, name[: longest // 2]))}~{digest}"
