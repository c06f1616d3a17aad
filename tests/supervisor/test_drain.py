"""Draining: no new connections, then patience, then an end."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from router_extproc.supervisor import drain as module
from router_extproc.supervisor.drain import announce, drain
from router_extproc.supervisor.envoy import Clients, EnvoyAdmin, EnvoyUnreachableError


class Envoy(EnvoyAdmin):
    """Says how many requests run, one figure for each time it is asked; the last one for ever. Clients stay connected."""

    def __init__(self, *active: int, connections: int = 1) -> None:
        self.active = list(active)
        self.connections = connections
        self.posted: list[str] = []
        self.questions = 0

    async def ask(self, path: str, method: str = "GET") -> tuple[int, bytes]:
        if not self.active:
            raise EnvoyUnreachableError("gone")
        self.posted.append(f"{method} {path}")
        return 200, b""

    async def clients(self, listener: str) -> Clients:
        assert listener == "clients"
        self.questions += 1
        return Clients(self.connections, self.active.pop(0) if len(self.active) > 1 else self.active[0])


class Clock:
    """Time that passes while somebody sleeps, and only then: it stands in the place of asyncio and its event loop."""

    def __init__(self) -> None:
        self.now = 0.0

    def time(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(module, "asyncio", SimpleNamespace(get_running_loop=lambda: made, sleep=made.sleep))
    return made


async def test_clients_are_sent_away_before_anything_is_waited_for() -> None:
    """Kept-alive connections are told to close, and the port is closed."""
    envoy = Envoy(0)
    await drain(envoy, 5)
    assert envoy.posted == ["POST /healthcheck/fail", "POST /drain_listeners"]


async def test_an_announced_end_closes_no_port() -> None:
    """Only kept-alive connections are told."""
    envoy = Envoy(3)
    await announce(envoy)
    assert envoy.posted == ["POST /healthcheck/fail"]


async def test_an_end_is_announced_to_nobody_where_envoy_is_gone(caplog: pytest.LogCaptureFixture) -> None:
    """It is no reason not to stop."""
    await announce(Envoy())
    assert "kept-alive connections are not told" in caplog.text


async def test_it_waits_until_nothing_has_run_for_a_moment(clock: Clock) -> None:
    """A request that arrives on a kept-alive connection starts the moment anew."""
    envoy = Envoy(3, 1, 0, 0, 1, 0)
    await drain(envoy, 5)
    quiet_from = 5 * module._POLL_SECONDS
    assert quiet_from + module.SETTLED_SECONDS <= clock.now + 1e-9 < quiet_from + module.SETTLED_SECONDS + 0.2
    assert envoy.questions > 6


async def test_where_nobody_is_connected_nothing_is_waited_for(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """No request can come on a connection that does not exist; only the door is given a moment to be closed."""
    monkeypatch.setattr(module, "SETTLED_SECONDS", 50)
    envoy = Envoy(1, 0, connections=0)
    await drain(envoy, 60)
    assert module.UNCONNECTED_SECONDS <= clock.now < 5
    assert envoy.questions >= 4


async def test_patience_ends(caplog: pytest.LogCaptureFixture) -> None:
    """After the time-out what runs is given up, and the log says so."""
    await drain(Envoy(1), 0.05)
    assert "answers were still running" in caplog.text


async def test_an_envoy_that_is_gone_holds_nothing_up(caplog: pytest.LogCaptureFixture) -> None:
    """There is nothing to drain."""
    await drain(Envoy(), 5)
    assert "without draining" in caplog.text
