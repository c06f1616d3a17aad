"""Pictures, sound and videos under a cap in money: set aside and settled by the piece, or refused where they have no price."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from tests.end_to_end.own_provider import JSON, Answering
from tests.end_to_end.running import CHAT, HELLO, Instance, running, until
from tests.end_to_end.spending import ledger, micro_usd, quiet_budget

pytestmark = pytest.mark.end_to_end

IMAGES, EDITS, SPEECH, VIDEOS = "/v1/images/generations", "/v1/images/edits", "/v1/audio/speech", "/v1/videos"
RESPONSES = "/v1/responses"
TRANSCRIPTIONS, TRANSLATIONS = "/v1/audio/transcriptions", "/v1/audio/translations"
# Micro-dollars: a picture 40,000; a character 15; a second of sound 100, of a video 100,000; each request 5,000.
PICTURE, CHARACTER, HEARD, FILMED, FEE = 40_000, 15, 100, 100_000, 5_000
SOUND = b"\x00" * 50_000


class Provider(ThreadingHTTPServer):
    """Makes whatever it is asked for, unless it is to fail, and remembers what it would bill, in micro-dollars."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.lock, self.billed, self.asked, self.fails = threading.Lock(), 0, 0, False

    def bill(self, amount: int) -> None:
        with self.lock:
            self.billed += amount


class _Answer(Answering):
    server: Provider

    def do_POST(self) -> None:  # noqa: N802 - the library's name
        body = self.rfile.read(int(self.headers["content-length"]))
        is_form = self.headers["content-type"].startswith("multipart/")
        with self.server.lock:
            self.server.asked += 1
        if self.server.fails:
            self.send_error(500)
            return
        self._make({} if is_form else json.loads(body), body)

    def _make(self, said: dict[str, Any], body: bytes) -> None:
        if self.path in (IMAGES, EDITS):
            number = int(said.get("n", 2 if b'name="n"\r\n\r\n2' in body else 1))
            self.server.bill(number * PICTURE)
            usage = {"input_tokens": 50, "output_tokens": 6_240, "total_tokens": 6_290}
            self.answer(json.dumps({"created": 1, "data": [{"b64_json": "AAAA"}] * number, "usage": usage}).encode())
        elif self.path == SPEECH:
            self.server.bill(len(said["input"]) * CHARACTER)
            self.answer(SOUND, "audio/mpeg")
        elif self.path == VIDEOS:
            self.server.bill(int(said["seconds"]) * FILMED)
            self.answer(json.dumps({"id": "video_1", "object": "video", "status": "queued"}).encode())
        elif self.path == RESPONSES:
            self.server.bill(3 * 25_000 + 90_000 + 200)
            self.answer(json.dumps({"object": "response", "output": [], "usage": USED}).encode())
        elif self.path == CHAT:
            self.server.bill(FEE + 12)
            message = {"role": "assistant", "content": "x"}
            usage = {"prompt_tokens": 10, "completion_tokens": 1, "total_tokens": 11}
            self.answer(json.dumps({"choices": [{"index": 0, "message": message}], "usage": usage}).encode())
        else:
            self._hear(body)

    def _hear(self, body: bytes) -> None:
        if b"\r\n\r\ntext\r\n" in body:
            self.answer(b"hello", "text/plain")
            return
        exactly = b"\r\n\r\nverbose_json\r\n" in body
        self.server.bill(9 * HEARD)
        heard = {"text": "hello"}
        told = {"duration": 8.470000267028809} if exactly else {"usage": {"type": "duration", "seconds": 9}}
        self.answer(json.dumps({**heard, **told}).encode(), JSON)


PRICES = {
    "picture": "image: 0.04",
    "many": "image: 0.04",
    "failing": "image: 0.04",
    "voice": "characters: 15",
    "ear": "audio_minute: 0.006",
    "film": "video_second: 0.1",
    "searching": "input: 1, output: 2, tool_call: 0.025",
    "sonar": "input: 1, output: 2, request: 0.005",
}
UNPRICED = ("drawing", "tokens")
USED: dict[str, Any] = {"input_tokens": 90_000, "output_tokens": 100, "total_tokens": 90_100}
SEARCH: dict[str, Any] = {"input": "What is new?", "tools": [{"type": "web_search"}], "max_output_tokens": 100}


@pytest.fixture(scope="module")
def instance(provider: Provider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """A model for each kind of price, each with a budget of its own; and two that have none for pictures."""
    known = "tier: economy, capabilities: [tools], context_window: 128000, output_limit: 4000"
    models = {name: f"{known}, prices: {{{price}}}" for name, price in PRICES.items()}
    models |= {"drawing": known, "tokens": f"{known}, prices: {{input: 5, output: 40}}", "unlimited": known}
    written = "".join(f"\n  {name}: {{deployments: [{{provider: one}}], {rest}}}" for name, rest in models.items())
    budgets = "".join(
        f"\n  of-{name}: {{usd: {'0.5' if name == 'many' else 50}, window: month, match: {{model: {name}}}}}"
        for name in (*PRICES, *UNPRICED)
    )
    configuration = f"""
workers: {{count: 2}}
providers:
  one: {{base_url: "http://127.0.0.1:{provider.server_port}/v1"}}
models:{written}
budgets:{budgets}
cooling: {{failures: 100000, failure_ratio: 1.0}}
"""
    with running(Instance(tmp_path_factory.mktemp("instance"), configuration)) as started:
        yield started


@pytest.fixture(autouse=True)
def _mended(provider: Provider) -> None:
    provider.fails, provider.billed, provider.asked = False, 0, 0


def post(instance: Instance, path: str, model: str, form: dict[str, str] | None = None, **body: Any) -> httpx.Response:
    with instance.http() as http:
        if form is not None:
            return http.post(path, data={"model": model, **form}, files={"file": ("a.mp3", SOUND)})
        return http.post(path, json={"model": model, **body})


def settled(instance: Instance, name: str) -> int:
    return micro_usd(quiet_budget(instance, f"of-{name}")["settled_usd"])


def row_of(instance: Instance, answer: httpx.Response) -> dict[str, Any]:
    decision = answer.headers["x-router-decision"]
    rows = until(lambda: [row for row in ledger([instance]) if row["request"] == decision])
    assert len(rows) == 1
    return dict(rows[0])


@pytest.mark.parametrize(
    ("model", "path", "body"),
    [
        ("picture", IMAGES, {"prompt": "a cat"}),
        ("picture", IMAGES, {"prompt": "a cat", "n": 3}),
        ("picture", EDITS, {"form": {"prompt": "a cat", "n": "2"}}),
        ("voice", SPEECH, {"input": "Guten Tag, schöne Welt", "voice": "alloy"}),
        ("film", VIDEOS, {"prompt": "a cat", "seconds": "8"}),
        ("ear", TRANSCRIPTIONS, {"form": {}}),
        ("ear", TRANSLATIONS, {"form": {"response_format": "verbose_json"}}),
    ],
    ids=["picture", "three pictures", "edited", "speech", "video", "sound", "sound, told to the digit"],
)
def test_what_is_made_is_settled_as_it_is_billed(
    instance: Instance, provider: Provider, model: str, path: str, body: dict[str, Any]
) -> None:
    """Budget, ledger and provider agree to the micro-dollar; tokens that a provider tells of a picture are not paid."""
    before = settled(instance, model)
    answer = post(instance, path, model, **body)
    assert answer.status_code == 200
    row = row_of(instance, answer)
    assert (row["cost_micro_usd"], row["usage_source"]) == (provider.billed, "price")
    assert (row["prompt_tokens"], row["completion_tokens"]) == (0, 0)
    assert settled(instance, model) - before == provider.billed > 0


def test_sound_whose_length_nobody_tells_is_settled_as_it_was_set_aside(instance: Instance) -> None:
    """Plain text has no place for it: the size of the form bounds the seconds."""
    before = settled(instance, "ear")
    answer = post(instance, TRANSCRIPTIONS, "ear", {"response_format": "text"})
    assert answer.text == "hello"
    assert HEARD * 50 < row_of(instance, answer)["cost_micro_usd"] < HEARD * 55
    assert HEARD * 50 < settled(instance, "ear") - before < HEARD * 55


def test_a_large_form_is_measured_whole(instance: Instance) -> None:
    """Also where its body is so large that Envoy asks a second time."""
    with instance.http() as http:
        form = {"model": "ear", "response_format": "text"}
        answer = http.post(TRANSCRIPTIONS, data=form, files={"file": ("a.mp3", SOUND * 60)})
    assert answer.text == "hello"
    assert HEARD * 3_000 < row_of(instance, answer)["cost_micro_usd"] < HEARD * 3_005


def test_a_fee_for_each_request_comes_on_top_of_tokens(instance: Instance, provider: Provider) -> None:
    """As of models that search for each question."""
    answer = post(instance, CHAT, "sonar", messages=HELLO)
    assert (row_of(instance, answer)["cost_micro_usd"], settled(instance, "sonar")) == (provider.billed, FEE + 12)


def test_what_failed_costs_nothing(instance: Instance, provider: Provider) -> None:
    """What was set aside for it is free again."""
    provider.fails = True
    assert post(instance, IMAGES, "failing", prompt="a cat").status_code == 500
    assert provider.asked >= 1
    assert settled(instance, "failing") == 0


def test_a_cap_holds_for_many_at_once(instance: Instance, provider: Provider) -> None:
    """Of forty requests for two pictures each, six fit into half a dollar; the others are refused before anybody is asked."""
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: post(instance, IMAGES, "many", prompt="a cat", n=2), range(40)))
    statuses = [answer.status_code for answer in answers]
    assert set(statuses) == {200, 429}
    assert statuses.count(200) == 6 == provider.asked
    assert settled(instance, "many") == provider.billed == 6 * 2 * PICTURE


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (IMAGES, {"prompt": "a cat"}),
        (EDITS, {"form": {"prompt": "a cat"}}),
        (SPEECH, {"input": "Hello"}),
        (VIDEOS, {"prompt": "a cat", "seconds": "8"}),
        (TRANSCRIPTIONS, {"form": {}}),
    ],
    ids=["picture", "edited", "speech", "video", "sound"],
)
def test_what_has_no_price_is_refused_where_a_cap_holds(
    instance: Instance, provider: Provider, path: str, body: dict[str, Any]
) -> None:
    """Tokens have prices there, or nothing has: neither says what a picture costs. Without a cap it is sent on."""
    for model in UNPRICED:
        answer = post(instance, path, model, **body)
        assert answer.status_code == 403, answer.text
        assert f"the budget 'of-{model}'" in answer.json()["error"]["message"]
    assert provider.asked == 0
    assert post(instance, path, "unlimited", **body).status_code == 200


@pytest.mark.parametrize(
    ("model", "path", "body"),
    [
        ("film", VIDEOS, {"prompt": "a cat"}),
        ("film", VIDEOS, {"prompt": "a cat", "seconds": "eight"}),
        ("picture", IMAGES, {"prompt": "a cat", "n": "lots"}),
        ("ear", TRANSCRIPTIONS, {"form": {"url": "https://example.com/long.flac"}}),
        ("voice", SPEECH, {"input": ["Hello"]}),
    ],
)
def test_a_number_that_is_not_told_is_no_way_around(
    instance: Instance, provider: Provider, model: str, path: str, body: dict[str, Any]
) -> None:
    """What may be any length or number is not begun."""
    assert post(instance, path, model, **body).status_code == 403
    assert provider.asked == 0


def test_tools_of_the_provider_are_paid_for_each_use_that_is_allowed(instance: Instance, provider: Provider) -> None:
    """As often as the caller lets them be used, which is what is billed at the most; without a limit nobody is asked."""
    for refused in (
        post(instance, RESPONSES, "searching", **SEARCH),
        post(instance, RESPONSES, "searching", **{**SEARCH, "tools": [{"type": "mcp"}]}, max_tool_calls=3),
        post(instance, RESPONSES, "tokens", **SEARCH, max_tool_calls=3),
        post(instance, CHAT, "tokens", messages=HELLO, web_search_options={}),
    ):
        assert refused.status_code == 403, refused.text
    assert provider.asked == 0
    answer = post(instance, RESPONSES, "searching", **SEARCH, max_tool_calls=3)
    assert answer.status_code == 200
    assert (row_of(instance, answer)["cost_micro_usd"], row_of(instance, answer)["prompt_tokens"]) == (provider.billed, 90_000)
    assert settled(instance, "searching") == provider.billed


def test_two_numbers_are_no_way_around(instance: Instance, provider: Provider) -> None:
    """A member that is there in two spellings, and a field that is there twice, are refused as malformed."""
    assert post(instance, SPEECH, "voice", input="Hello", Input="x" * 5_000).status_code == 400
    parts: Any = [("model", (None, "picture")), ("n", (None, "1")), ("n", (None, "9")), ("image", ("a.png", SOUND))]
    with instance.http() as http:
        assert http.post(EDITS, files=parts).status_code == 400
    assert provider.asked == 0
