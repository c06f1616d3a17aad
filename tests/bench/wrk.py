"""Runs wrk and reads what it printed."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

_UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}


@dataclass(frozen=True)
class Measured:
    """Requests a second, latencies in milliseconds, and answers that were no 2xx."""

    throughput: float
    p50_ms: float
    p99_ms: float
    failed: int


def write_script(path: Path, *bodies: bytes, key: str | None = None) -> Path:
    """A Lua script that posts these chat completions in turn, with a bearer token where there is a ``key``."""
    # A JSON string of ASCII is a Lua string too, but for what JSON escapes as \u.
    quoted = ",\n".join(json.dumps(body.decode("ascii")) for body in bodies)
    proof = f'wrk.headers["authorization"] = "Bearer {key}"\n' if key is not None else ""
    path.write_text(
        f'local bodies = {{{quoted}}}\nlocal turn = 0\nwrk.method = "POST"\nwrk.headers["content-type"] = "application/json"\n'
        f"{proof}"
        "request = function()\n  turn = turn % #bodies + 1\n  return wrk.format(nil, nil, nil, bodies[turn])\nend\n",
        encoding="utf-8",
    )
    return path


def run(url: str, script: Path, concurrency: int, seconds: int) -> Measured:
    """One round."""
    command = ["wrk", "-t1", f"-c{concurrency}", f"-d{seconds}s", "--latency", "-s", str(script), f"{url}/v1/chat/completions"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    failed = re.search(r"Non-2xx or 3xx responses: (\d+)", printed)
    return Measured(
        throughput=float(_one(r"Requests/sec:\s+([\d.]+)", printed)[1]),
        p50_ms=_milliseconds(_one(r"50%\s+([\d.]+)(us|ms|s|m)", printed)),
        p99_ms=_milliseconds(_one(r"99%\s+([\d.]+)(us|ms|s|m)", printed)),
        failed=int(failed[1]) if failed else 0,
    )


def _one(pattern: str, text: str) -> re.Match[str]:
    found = re.search(pattern, text)
    if found is None:
        raise ValueError(f"wrk printed no {pattern}: {text}")
    return found


def _milliseconds(found: re.Match[str]) -> float:
    return float(found[1]) * _UNITS[found[2]]
