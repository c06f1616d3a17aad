"""What ``router-extproc up`` and ``serve`` tell their user once they serve."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from router_extproc.cli.up import _greet
from router_extproc.config.load import parse_config

PROVIDERS = "providers: {openai: {base_url: 'https://api.openai.com/v1', models: [gpt-5.4-mini]}}\n"


def greeting(text: str, capsys: pytest.CaptureFixture[str], *, is_demo: bool = False, bootstrap: Path | None = None) -> str:
    _greet(parse_config(PROVIDERS + text), is_demo=is_demo, bootstrap=bootstrap)
    return capsys.readouterr().out


def test_the_curl_line_can_be_pasted(capsys: pytest.CaptureFixture[str]) -> None:
    """The last line is one command with a body that is JSON, for the address that clients use."""
    words = shlex.split(greeting("listener: {port: 12345}\n", capsys).splitlines()[-1])
    assert words[0] == "curl"
    assert "http://127.0.0.1:12345/v1/chat/completions" in words
    assert json.loads(words[-1])["model"] == "auto"


@pytest.mark.parametrize("address", ["0.0.0.0", "'::'"])
def test_the_address_told_is_one_to_connect_to(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody connects to `all addresses`: the greeting names this machine."""
    text = f"listener: {{address: {address}, tls: {{certificate: c.pem, key: k.pem}}}}\nauth: none\n"
    assert "Clients:  https://127.0.0.1:10000/v1" in greeting(text, capsys)


@pytest.mark.parametrize(
    ("text", "proof"),
    [
        ("", ""),
        ("auth: none\n", ""),
        ("auth: keys\n", "authorization: Bearer YOUR_KEY"),
        (f"tenants: {{a: {{}}}}\nkeys: {{k: {{tenant: a, digest: 'sha256:{'00' * 16}:{'11' * 32}'}}}}\n", "Bearer YOUR_KEY"),
        ("auth: {mode: jwt, jwt: {issuer: https://login.example, jwks_file: keys.json}}\n", "Bearer YOUR_TOKEN"),
    ],
)
def test_the_curl_line_shows_where_a_key_goes(text: str, proof: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever pastes it where callers are asked for proof is not surprised by a 401."""
    line = greeting(text, capsys).splitlines()[-1]
    assert proof in line
    assert ("YOUR_" in line) == bool(proof)


def test_a_demo_says_that_it_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody takes the simulator's answers for a provider's."""
    assert "simulated" in greeting("", capsys, is_demo=True).splitlines()[0]
    assert "simulated" not in greeting("", capsys)


def test_serve_tells_how_to_start_envoy(capsys: pytest.CaptureFixture[str]) -> None:
    """Without an Envoy of ours, clients are served by one that reads the rendered files."""
    told = greeting("", capsys, bootstrap=Path("/state/envoy/bootstrap.json"))
    assert "envoy -c /state/envoy/bootstrap.json --file-flush-interval-msec 20\n" in told
    assert "envoy -c" not in greeting("", capsys)
