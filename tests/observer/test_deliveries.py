"""The webhook: called until it answers, in words that Slack understands, its address in no log."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from router_extproc.observer.deliveries import (
    GIVEN_UP_AFTER_SECONDS,
    Deliveries,
    WebhookError,
    address_of,
    call,
    is_configured,
    pause_after,
)
from router_extproc.observer.spending_metrics import SpendingMetrics
from router_extproc.registry.spending import Alerts
from router_extproc.store.alerts import Alert, AlertOutbox

NOW = 1_772_366_400.0
PATH = "/services/very-secret-canary"
ALERT = Alert(
    name="alert:usd:month:0.8:0", at=NOW, budget="month", counter="usd:month", unit="usd", threshold=0.8, settled=8, cap=10,
    expires_at=NOW + 60,
)  # fmt: skip


class Receiver:
    """A webhook of our own: answers with the statuses it is given, then with 200."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.received: list[tuple[str, str, Any]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                receiver.received.append((self.path, self.headers["content-type"], body))
                status = receiver.statuses.pop(0) if receiver.statuses else 200
                self.send_response(status)
                if status == 302:
                    self.send_header("location", PATH)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}{PATH}"

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


class Counter:
    """Deliveries over a real outbox, with their time and figures."""

    def __init__(self, folder: Path, environ: dict[str, str]) -> None:
        self.outbox = AlertOutbox(folder / "alerts.sqlite")
        self.figures = CollectorRegistry()
        self.now = NOW
        self.deliveries = Deliveries(self.outbox, SpendingMetrics(self.figures), lambda: self.now, environ)

    def raise_alert(self) -> None:
        self.outbox.become(self.outbox.add(ALERT), "due")

    def results(self) -> dict[str, float | None]:
        name = "router_alert_deliveries_total"
        return {
            result: self.figures.get_sample_value(name, {"result": result}) for result in ("delivered", "failed", "given_up")
        }

    def states(self) -> list[str]:
        return [stored.state for stored in self.outbox.recent()]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with closing(Receiver()) as opened:
        yield opened


@pytest.fixture
def counter(tmp_path: Path, receiver: Receiver) -> Iterator[Counter]:
    made = Counter(tmp_path, {"WEBHOOK": receiver.address})
    yield made
    made.outbox.close()


SETTINGS = Alerts(webhook_env="WEBHOOK")


async def test_an_alert_is_delivered_once(counter: Counter, receiver: Receiver) -> None:
    """One call, with a text for people; afterwards there is nothing to do."""
    counter.raise_alert()
    await counter.deliveries.step(SETTINGS)
    await counter.deliveries.step(SETTINGS)
    text = "Budget month has used 80 % of 0.000010 USD: 0.000008 USD."
    assert receiver.received == [(PATH, "application/json", {"text": text})]
    assert (counter.states(), counter.results()["delivered"]) == (["delivered"], 1)


async def test_a_webhook_that_fails_is_called_again_later(
    counter: Counter, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    """With longer and longer pauses, until it answers; a redirect is no answer."""
    receiver.statuses = [500, 302, 429]
    counter.raise_alert()
    times = []
    for _ in range(40):
        before = len(receiver.received)
        await counter.deliveries.step(SETTINGS)
        if len(receiver.received) > before:
            times.append(counter.now - NOW)
        counter.now += 0.5
    assert times == [0, 1, 3, 7]
    assert counter.results() == {"delivered": 1, "failed": 3, "given_up": 0}
    assert "it answered 302" in str([record.__dict__.get("reason") for record in caplog.records])
    assert "secret" not in str([record.__dict__ for record in caplog.records])


async def test_the_order_is_kept_and_the_next_process_goes_on(counter: Counter, receiver: Receiver, tmp_path: Path) -> None:
    """What is due stays in the file."""
    receiver.statuses = [503]
    counter.raise_alert()
    counter.raise_alert()
    await counter.deliveries.step(SETTINGS)
    assert len(receiver.received) == 1
    successor = Counter(tmp_path, {"WEBHOOK": receiver.address})
    successor.now = NOW + 60
    await successor.deliveries.step(SETTINGS)
    assert successor.states() == ["delivered", "delivered"]
    successor.outbox.close()


async def test_after_a_day_it_is_given_up(counter: Counter, receiver: Receiver) -> None:
    """And counted, so that somebody looks."""
    receiver.statuses = [500] * 3
    counter.raise_alert()
    counter.now = NOW + GIVEN_UP_AFTER_SECONDS + 1
    await counter.deliveries.step(SETTINGS)
    assert (counter.states(), counter.results()["given_up"]) == (["given_up"], 1)


async def test_without_a_webhook_nothing_is_called(counter: Counter, receiver: Receiver) -> None:
    """And an alert that waits does so until there is one."""
    counter.raise_alert()
    await counter.deliveries.step(Alerts())
    assert (receiver.received, counter.states()) == ([], ["due"])


@pytest.mark.parametrize("address", ["", "hello", "ftp://example.com/x", "file:///etc/passwd", "http://", "http://[::"])
async def test_an_address_that_is_none(counter: Counter, address: str, caplog: pytest.LogCaptureFixture) -> None:
    """Told with the place where it lies, not with what lies there; tried again, for it may be put right."""
    counter.deliveries._environ = {"WEBHOOK": address}
    counter.raise_alert()
    caplog.set_level(logging.INFO)
    await counter.deliveries.step(SETTINGS)
    assert counter.results()["failed"] == 1
    reasons = str([record.__dict__.get("reason") for record in caplog.records])
    assert "the environment variable WEBHOOK holds no http or https address" in reasons
    assert not address or address not in reasons


def test_where_the_address_lies(tmp_path: Path) -> None:
    """A variable, a file with a line's end, or the file itself; a file that is gone is told."""
    file = tmp_path / "webhook"
    file.write_text("https://example.com/file\n")
    assert address_of(Alerts(webhook_file=str(file)), {}) == "https://example.com/file"
    assert address_of(Alerts(webhook_env="W"), {"W": "https://example.com/env"}) == "https://example.com/env"
    assert address_of(Alerts(webhook_url="http://example.com/url"), {}) == "http://example.com/url"
    with pytest.raises(WebhookError, match="cannot be read"):
        address_of(Alerts(webhook_file=str(tmp_path / "gone")), {})
    assert [is_configured(each) for each in (Alerts(), SETTINGS, Alerts(webhook_url="x"))] == [False, True, True]


def test_what_nobody_answers_names_no_address() -> None:
    """The error says what went wrong, and nothing that could be a secret."""
    with pytest.raises(WebhookError, match=r"^it cannot be reached: ConnectionRefusedError$"):
        call("http://127.0.0.1:1/very-secret-canary", b"{}")


def test_pauses() -> None:
    """Seconds: doubled each time, five minutes at most."""
    assert [pause_after(tries) for tries in (0, 1, 2, 8, 9, 1_000)] == [1, 2, 4, 256, 300, 300]
