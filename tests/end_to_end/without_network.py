"""Runs inside a network namespace of its own, where loopback is all there is: a whole instance, asked a few things.

Prints as JSON what came back, and how often anything in this namespace tried to reach an address outside: the kernel
counts every connect and every datagram that finds no route.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import socket
import struct
import sys
import time
from pathlib import Path

from tests.end_to_end.running import CHAT, HELLO, Instance, Simulators, running, until

_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1  # netdevice(7)

CONFIGURATION = """
analysis: {{deadline: 5s}}
providers:
  one: {{base_url: "{one}/v1"}}
  two: {{base_url: "{two}/v1"}}
models:
  gpt-4o: {{deployments: [{{provider: one}}, {{provider: two}}], tier: premium}}
  small: {{deployments: [{{provider: one}}], tier: economy}}
routes:
  watched: {{targets: [gpt-4o], timeouts: {{first_token: 5s}}, check: {{answer: true}}}}
"""


def raise_loopback() -> None:
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh", b"lo", _IFF_UP))


def attempts_to_leave() -> int:
    """Connects and datagrams, IPv4 and IPv6, that found no route since this namespace was made."""
    names, values = [line.split() for line in Path("/proc/net/snmp").read_text().splitlines() if line.startswith("Ip:")]
    version_6 = dict(line.split() for line in Path("/proc/net/snmp6").read_text().splitlines())
    return int(values[names.index("OutNoRoutes")]) + int(version_6["Ip6OutNoRoutes"])


def try_to_leave() -> None:
    """What the counter must notice: a connection and a datagram."""
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as attempt, contextlib.suppress(OSError):
            attempt.connect(("192.0.2.1", 443))


def main() -> None:
    folder = Path(sys.argv[1])
    raise_loopback()
    before = attempts_to_leave()
    try_to_leave()
    noticed = attempts_to_leave() - before
    answers = []
    with contextlib.closing(Simulators(folder, {"one": {}, "two": {}})) as simulators:
        text = CONFIGURATION.format(one=simulators.url("one"), two=simulators.url("two"))
        with running(Instance(folder / "instance", text)) as instance, instance.http() as http:
            for model, stream in (("auto", False), ("watched", True), ("gpt-4o", False)):
                answers.append(http.post(CHAT, json={"model": model, "messages": HELLO, "stream": stream}))
            answers.append(http.get("/v1/models"))
            # The classifier has its turn in the worker and in the observer.
            explained = instance.admin.post(f"{instance.admin_url}/explain", json={"model": "auto", "messages": HELLO}).json()
            # The observer's timers, Envoy's health checks and a reload have their turn too.
            instance.write(text + "aliases: {other: gpt-4o}\n")
            time.sleep(3)
            other = {"model": "other", "messages": HELLO}
            answers.append(until(lambda: (asked := http.post(CHAT, json=other)).status_code == 200 and asked))
    print(  # noqa: T201 - this is a program
        json.dumps(
            {
                "statuses": [answer.status_code for answer in answers],
                "degraded": [
                    answer.headers["x-router-degraded"] for answer in answers if "x-router-degraded" in answer.headers
                ],
                "analysed": [answers[0].headers["x-router-reason"], explained["decision"]["reason"]],
                "noticed": noticed,
                "attempts": attempts_to_leave() - before - noticed,
            }
        )
    )


if __name__ == "__main__":
    main()
