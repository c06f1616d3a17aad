"""Three replicas over one Redis, through the real Envoy: a change at one holds at all, what is to happen once happens once."""

from __future__ import annotations

import http.server
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from tests.end_to_end.load import chat
from tests.end_to_end.running import at_work, until
from tests.end_to_end.spending import World, command, world
from tests.end_to_end.stopwatch import Stopwatch
from tests.redis_servers import single_redis

pytestmark = pytest.mark.end_to_end

# The longest that a revocation may take everywhere.
SECONDS = 1.0
ALERTED = 50
MORE = f"""
alerts: {{webhook: {{url: "http://127.0.0.1:PORT/alerts"}}}}
budgets:
  alerted:
    requests: {ALERTED}
    window: {{rolling: 1h}}
    match: {{tenant: alerted}}
    warn_at: [0.5, 0.8]
    downgrade_at: null
    on_store_failure: fail_closed
"""


class Inbox(http.server.ThreadingHTTPServer):
    """Takes what is posted to it; the first answer is an error, as a busy receiver's may be."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.taken: list[dict[str, Any]] = []
        self.refused = 0
        # Two thresholds may be told at once, by two replicas.
        self.lock = threading.Lock()


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Inbox

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        with self.server.lock:
            is_first = not self.server.refused
            self.server.refused = 1
        if is_first:
            self.send_error(503)
            return
        self.server.taken.append(json.loads(body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture(scope="module")
def inbox() -> Iterator[Inbox]:
    with at_work(Inbox()) as server:
        yield server


@pytest.fixture(scope="module")
def replicas(inbox: Inbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("replicas")
    with single_redis(folder / "redis") as server:
        more = MORE.replace("PORT", str(inbox.server_address[1]))
        with world(folder, replicas=3, workers=1, more=more, store=f"store: {{redis: {{url: {server.url}}}}}") as built:
            yield built


def _statuses(replicas: World, key: str) -> list[int]:
    """What each replica answers to the key."""
    found = []
    for instance in replicas.instances:
        with instance.http() as client:
            found.append(client.get("/v1/models", headers={"authorization": f"Bearer {key}"}).status_code)
    return found


@pytest.mark.alone  # a second over several instances
def test_a_key_that_is_revoked_at_one_replica_is_revoked_at_all(replicas: World) -> None:
    """Within a second of the command nobody answers to the key any more, in the SDK's own words."""
    key = replicas.create_key("revoked")
    identity = key.removeprefix("sk-router-").partition(".")[0]
    command(replicas.instances[1], "keys", "revoke", identity)
    with Stopwatch() as watch:
        until(lambda: _statuses(replicas, key) == [401] * 3, step=0.02)
    assert watch.seconds <= SECONDS
    with replicas.instances[2].client(api_key=key) as client, pytest.raises(openai.AuthenticationError) as refused:
        client.models.list()
    assert refused.value.code == "invalid_api_key"


@pytest.mark.alone  # a second over several instances
def test_a_rotated_key_and_its_successor_both_hold_while_they_overlap(replicas: World) -> None:
    """The old key ends when the overlap does, the new one goes on; both lead to the same budgets."""
    key = replicas.create_key("rotated", "--budget-usd", "1", "--window", "month")
    identity = key.removeprefix("sk-router-").partition(".")[0]
    successor = command(replicas.instances[0], "keys", "rotate", identity, "--overlap", "10s")["key"]
    with Stopwatch() as watch:
        until(lambda: _statuses(replicas, successor) == [200] * 3, step=0.02)
    assert watch.seconds <= SECONDS
    assert _statuses(replicas, key) == [200] * 3
    with Stopwatch() as watch:
        until(lambda: _statuses(replicas, key) == [401] * 3)
    assert watch.seconds <= 10 + SECONDS
    assert _statuses(replicas, successor) == [200] * 3


def test_a_threshold_is_alerted_once_by_whichever_replica(replicas: World, inbox: Inbox) -> None:
    """Over all replicas each threshold of a window is posted once, after a failed delivery too; no key is in it."""
    key = replicas.create_key("alerted")
    with replicas.load(key, [chat("small", max_tokens=20)], requests=3 * ALERTED, connections=30) as load:
        load.join()
    served = load.by(lambda outcome: outcome.status)[httpx.codes.OK]
    while served < ALERTED:
        # A store that was too busy to answer in time gives back what it set aside for nobody.
        assert load.by(lambda outcome: outcome.status)[httpx.codes.SERVICE_UNAVAILABLE]
        with replicas.load(key, [chat("small", max_tokens=20)], requests=1, connections=1, pause=0.1) as late:
            late.join()
        served += late.outcomes[0].is_served
    assert served == ALERTED
    until(lambda: len(inbox.taken) >= 2, seconds=60)
    replicas.settled("alerted")
    time.sleep(1)  # for one too many
    assert len(inbox.taken) == 2, inbox.taken
    assert inbox.refused == 1
    texts = [posted["text"] for posted in inbox.taken]
    assert all("alerted" in text for text in texts)
    assert key not in json.dumps(inbox.taken)
