"""The official Node SDK works unchanged behind another base URL, and throws where an answer is not whole.

`node/conversation.mjs` holds the whole conversation once; each test reads what was said in one of its exchanges.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.running import Instance, Simulators, running

pytestmark = pytest.mark.end_to_end

ROOT = Path(__file__).parents[2]
SOURCES = Path(__file__).with_name("node")
OLDEST_NODE = 20  # what the SDK supports
# How npm says that a registry cannot be reached, or does not serve us.
UNREACHABLE = re.compile(
    r"^npm error code (E[45]\d\d|ENOTFOUND|EAI_AGAIN|ECONN\w+|ENETUNREACH|EHOSTUNREACH|\w*TIMEDOUT|\w*TIMEOUT|\w*CERT\w*)$",
    re.MULTILINE,
)

# `text-only` is the cheapest and can do nothing but talk: what needs more must not go there.
# The deadline is far away, because a machine that is busy with other tests must not decide what these see.
CONFIGURATION = """
analysis: {deadline: 5s}
providers:
  vision: {base_url: $vision/v1, models: [gpt-4o]}
  talker: {base_url: $talker/v1}
  breaking: {base_url: $breaking/v1}
  closing: {base_url: $closing/v1}
  hasty: {base_url: $hasty/v1}
models:
  text-only:
    deployments: [{provider: talker, model: talker-7b}]
    tier: economy
    capabilities: []
    context_window: 8000
    prices: {input: 0.01, output: 0.02}
  reset: {deployments: [{provider: breaking}], prices: {input: 90, output: 90}}
  closed: {deployments: [{provider: closing}], prices: {input: 90, output: 90}}
  unfinished: {deployments: [{provider: hasty}], prices: {input: 90, output: 90}}
"""
PLAYED: dict[str, dict[str, Any]] = {
    "vision": {"models": ["gpt-4o"]},
    "talker": {"models": ["talker-7b"]},
    "breaking": {"faults": {"cut_after_tokens": 3, "cut": "reset"}},
    "closing": {"faults": {"cut_after_tokens": 3, "cut": "close"}},
    "hasty": {"faults": {"end_early": "before_done"}},
}
# What a simulator says names who says it.
SENTENCE = "{} simulated this answer: no provider was called and nothing was billed."
TALKED, SEEN = SENTENCE.format("talker (talker-7b)"), SENTENCE.format("vision (gpt-4o)")

SIMULATED = PLAYED


def command(name: str) -> str:
    """Where a command of Node.js is; without it the module is skipped."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"THE NODE SDK IS NOT TESTED: there is no `{name}` here; install Node.js {OLDEST_NODE} or newer with npm")
    return found


def install(folder: Path) -> None:
    """Installs what the lock names. A registry that cannot be reached or does not serve skips; all else is a fault of ours."""
    for name in ("package.json", "package-lock.json", ".npmrc"):
        shutil.copy(SOURCES / name, folder)
    npm = [command("npm"), "ci", "--prefer-offline"]
    try:
        done = subprocess.run(npm, cwd=folder, capture_output=True, text=True, check=False, timeout=60)
    except subprocess.TimeoutExpired as expired:
        pytest.skip(f"THE NODE SDK IS NOT TESTED: {expired}")
    if UNREACHABLE.search(done.stderr):
        pytest.skip(f"THE NODE SDK IS NOT TESTED: npm cannot install it: {' '.join(done.stderr.split())[:300]}")
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def packages() -> Path:
    """The installed packages, kept below `build` for the next time; another lock gets another folder."""
    digest = hashlib.sha256((SOURCES / "package-lock.json").read_bytes()).hexdigest()[:12]
    kept = ROOT / "build" / "node" / digest
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent, prefix="new-", ignore_cleanup_errors=True) as folder:
            install(Path(folder))
            try:
                Path(folder).rename(kept)
            except OSError:  # another run was faster
                assert kept.exists()
    return kept / "node_modules"


@pytest.fixture(scope="module")
def node() -> str:
    found = command("node")
    version = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if int(version.removeprefix("v").split(".")[0]) < OLDEST_NODE:
        pytest.skip(f"THE NODE SDK IS NOT TESTED: Node.js here is {version}, the SDK needs {OLDEST_NODE} or newer")
    return found


@pytest.fixture(scope="module")
def conversation(
    node: str, packages: Path, simulators: Simulators, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Any]]:
    """What was said and what was thrown, by the name of the exchange."""
    folder = tmp_path_factory.mktemp("node")
    shutil.copy(SOURCES / "conversation.mjs", folder)
    (folder / "node_modules").symlink_to(packages, target_is_directory=True)
    environment = {"PATH": os.environ["PATH"]}
    with running(Instance(tmp_path_factory.mktemp("instance"), simulators.fill(CONFIGURATION))) as instance:
        done = subprocess.run(
            [node, folder / "conversation.mjs", instance.url],
            cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return {line["name"]: line for line in map(json.loads, done.stdout.splitlines())}


def said(conversation: dict[str, dict[str, Any]], name: str) -> Any:
    assert "thrown" not in conversation[name], conversation[name]
    return conversation[name]["said"]


def thrown(conversation: dict[str, dict[str, Any]], name: str) -> dict[str, Any]:
    assert "said" not in conversation[name], "a broken answer passed for a whole one"
    error: dict[str, Any] = conversation[name]["thrown"]
    return error


def text(chunks: list[dict[str, Any]]) -> str:
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])


def test_a_question_is_answered(conversation: dict[str, dict[str, Any]]) -> None:
    """A chat completion comes back whole, from the model that the headers name."""
    exchange = said(conversation, "question")
    (choice,) = exchange["answer"]["choices"]
    assert choice["message"]["content"] == TALKED
    assert choice["finish_reason"] == "stop"
    assert exchange["model"] == "text-only"
    assert exchange["answer"]["model"] == "talker-7b"


def test_a_stream_says_the_same(conversation: dict[str, dict[str, Any]]) -> None:
    """A stream brings the plain answer piece by piece, without the usage that nobody asked for."""
    chunks = said(conversation, "stream")
    assert text(chunks) == TALKED
    assert len(chunks) > 5
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert [chunk for chunk in chunks if chunk.get("usage")] == []


def test_a_stream_brings_the_usage_that_was_asked_for(conversation: dict[str, dict[str, Any]]) -> None:
    """With `include_usage` the last chunk carries what the plain answer reports."""
    chunks = said(conversation, "stream_with_usage")
    assert text(chunks) == TALKED
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"] == said(conversation, "question")["answer"]["usage"]


def test_tools_are_called_and_answered(conversation: dict[str, dict[str, Any]]) -> None:
    """A tool call comes back from a model that knows tools, and so does the answer to its result."""
    exchange = said(conversation, "tools")
    (call,) = exchange["asked"]["answer"]["choices"][0]["message"]["tool_calls"]
    assert call["function"]["name"] == "get_weather"
    assert set(json.loads(call["function"]["arguments"])) == {"city", "unit"}
    assert exchange["told"]["answer"]["choices"][0]["message"]["content"] == SEEN
    assert [exchange[turn]["model"] for turn in ("asked", "told")] == ["gpt-4o", "gpt-4o"]


def test_the_sdk_runs_tools_by_itself(conversation: dict[str, dict[str, Any]]) -> None:
    """The SDK's own loop over streamed tool calls calls the function once and ends with the answer."""
    exchange = said(conversation, "tools_run_by_sdk")
    (place,) = exchange["calls"]
    assert place["unit"] in {"celsius", "fahrenheit"}
    assert exchange["content"] == SEEN


def test_structured_output(conversation: dict[str, dict[str, Any]]) -> None:
    """`response_format` with a JSON Schema yields JSON that fits it, from a model that can do so."""
    exchange = said(conversation, "structured_output")
    recipe = json.loads(exchange["answer"]["choices"][0]["message"]["content"])
    assert set(recipe) == {"title", "minutes", "difficulty", "steps"}
    assert recipe["difficulty"] in {"easy", "hard"}
    assert exchange["model"] == "gpt-4o"


def test_several_choices(conversation: dict[str, dict[str, Any]]) -> None:
    """`n` brings so many choices."""
    choices = said(conversation, "choices")["answer"]["choices"]
    assert [(choice["index"], choice["message"]["content"]) for choice in choices] == [(0, TALKED), (1, TALKED), (2, TALKED)]


def test_logprobs(conversation: dict[str, dict[str, Any]]) -> None:
    """`logprobs` come back for every token, from a model that has them."""
    exchange = said(conversation, "logprobs")
    tokens = exchange["answer"]["choices"][0]["logprobs"]["content"]
    assert "".join(token["token"] for token in tokens) == SEEN
    assert all(token["logprob"] <= 0 and len(token["top_logprobs"]) == 2 for token in tokens)
    assert exchange["model"] == "gpt-4o"


def test_a_picture_is_seen(conversation: dict[str, dict[str, Any]]) -> None:
    """A data URL of 200 kB goes to a model that sees."""
    exchange = said(conversation, "picture")
    assert exchange["model"] == "gpt-4o"
    assert exchange["answer"]["choices"][0]["message"]["content"] == SEEN


def test_models_are_listed(conversation: dict[str, dict[str, Any]]) -> None:
    """The SDK's paging list names routes and models."""
    names = said(conversation, "models")
    assert {"auto", "gpt-4o", "text-only"} <= set(names)
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", ["unknown_model", "unknown_model_streamed"])
def test_an_unknown_model_is_not_found(conversation: dict[str, dict[str, Any]], name: str) -> None:
    """A model that is nowhere configured throws the SDK's own class, with code and decision id, before any chunk."""
    error = thrown(conversation, name)
    assert (error["class"], error["status"], error["code"]) == ("NotFoundError", 404, "model_not_found")
    assert "no-such-model" in error["message"]
    assert error["decision"]


@pytest.mark.parametrize("name", ["connection_reset", "connection_closed"])
def test_a_stream_that_is_cut_throws(conversation: dict[str, dict[str, Any]], name: str) -> None:
    """A stream whose connection broke brings what had come and then throws; it never passes for a whole one."""
    assert thrown(conversation, name)["heard"] > 0


def test_a_stream_without_its_last_event_throws(conversation: dict[str, dict[str, Any]]) -> None:
    """A stream that ends in good order but without `[DONE]` throws the SDK's own class: all that came was an orderly end."""
    error = thrown(conversation, "end_without_done")
    assert (error["class"], error["code"]) == ("APIError", "stream_incomplete")
    assert error["heard"] > 0
