import asyncio
import base64
import hashlib
import ssl
from pathlib import Path

import httpx
import msgspec
import openai
import pytest
import trustme

from router_extproc.errors import StartError
from router_extproc.simulator import Faults, RecordedRequest, SimulatedDeployment, Simulator, SimulatorConfig, Statistics
from tests.simulator.conftest import Client, Simulate
from tests.simulator.conversation import CHAT, HELLO, ask, connected, post, read_response, until

PAIR = (SimulatedDeployment(name="main"), SimulatedDeployment(name="spare"))


async def test_each_deployment_has_a_port_of_its_own(simulate: Simulate, client: Client) -> None:
    """One process plays several providers, and each answers in its own name."""
    simulator = await simulate(*PAIR)
    assert len(set(simulator.ports().values())) == 2
    for name in ("main", "spare"):
        answer = await client(simulator, name).chat.completions.create(model="m", messages=HELLO)
        assert answer.choices[0].message.content.startswith(f"{name} (m)")


async def test_a_taken_port_is_a_clear_error_and_leaves_nothing_behind(simulate: Simulate) -> None:
    """The message names deployment, address and cause."""
    taken = (await simulate()).port("main")
    config = SimulatorConfig(deployments=(SimulatedDeployment(name="first"), SimulatedDeployment(name="second", port=taken)))
    failing = Simulator(config)
    with pytest.raises(StartError, match=f"second: 127.0.0.1:{taken} .*in use"):
        await failing.start()
    assert failing.ports() == {}


async def test_a_missing_certificate_is_a_clear_error(tmp_path: Path) -> None:
    """The message names the deployment."""
    deployment = SimulatedDeployment(name="main", tls_certificate=str(tmp_path / "none.pem"))
    with pytest.raises(StartError, match="main: TLS certificate or key"):
        await Simulator(SimulatorConfig(deployments=(deployment,))).start()


async def test_tls_is_spoken_where_a_certificate_is_given(simulate: Simulate, tmp_path: Path) -> None:
    """A client that trusts the authority is served, streams included; cuts and refusals work there too."""
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    issued.cert_chain_pems[0].write_to_path(certificate)
    issued.private_key_pem.write_to_path(key)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    faults = (Faults(times=1), Faults(cut_after_tokens=1, times=1), Faults(refuse=True, times=1))
    simulator = await simulate(
        SimulatedDeployment(name="main", tls_certificate=str(certificate), tls_key=str(key), faults=faults)
    )
    assert simulator.base_url("main").startswith("https://")
    async with httpx.AsyncClient(verify=trusting, base_url=simulator.base_url("main")) as http:
        request = {"model": "m", "messages": HELLO, "stream": True}
        answer = await http.post("chat/completions", json=request)
        assert answer.text.endswith("data: [DONE]\n\n")
        for _ in range(2):
            with pytest.raises(httpx.TransportError):
                await http.post("chat/completions", json=request)


async def test_a_refusing_deployment_refuses_connections_until_it_is_well(simulate: Simulate) -> None:
    """The port is closed and stays its own; open connections are reset; another port reopens it."""
    simulator = await simulate(*PAIR)
    port = simulator.port("main")
    async with connected(simulator) as (reader, writer):
        writer.write(post(CHAT))
        await read_response(reader)
        put = await ask(simulator, "PUT", "/_simulator/faults?deployment=main", b'{"refuse": true}', name="spare")
        assert (put.status, put.json()) == (200, {"refuse": True})
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(), 5)
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)
    assert (await ask(simulator, "DELETE", "/_simulator/faults?deployment=main", name="spare")).status == 200
    assert simulator.port("main") == port
    assert (await ask(simulator, "POST", "/v1/chat/completions", CHAT)).status == 200


async def test_a_deployment_can_refuse_from_the_start(simulate: Simulate) -> None:
    """Its port is known and nobody listens there."""
    simulator = await simulate(faults=Faults(refuse=True))
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", simulator.port("main"))
    await simulator.set_faults("main", Faults())
    assert (await ask(simulator, "GET", "/v1/models")).status == 200


async def test_a_counted_refusal_resets_the_connection(simulate: Simulate, client: Client) -> None:
    """The request is read, counted and never answered."""
    simulator = await simulate(faults=Faults(refuse=True, times=1))
    sdk = client(simulator)
    with pytest.raises(openai.APIConnectionError):
        await sdk.chat.completions.create(model="m", messages=HELLO)
    assert await sdk.chat.completions.create(model="m", messages=HELLO)
    assert [request.outcome for request in simulator.requests("main")] == ["cut", "complete"]


async def test_one_request_scripts_each_deployment_on_its_way(simulate: Simulate, client: Client) -> None:
    """`x-simulate` says for each what it does, and for all others under `*`."""
    simulator = await simulate(*PAIR, obey_header=True)
    headers = {"x-simulate": '{"main": {"status": 429, "retry_after": 2}, "*": {"tokens": 1}}'}
    with pytest.raises(openai.RateLimitError):
        await client(simulator).chat.completions.create(model="m", messages=HELLO, extra_headers=headers)
    answer = await client(simulator, "spare").chat.completions.create(model="m", messages=HELLO, extra_headers=headers)
    assert answer.choices[0].message.content == "spare"
    assert simulator.requests("main")[0].faults == Faults(status=429, retry_after=2)


async def test_the_header_is_ignored_unless_allowed(simulate: Simulate, client: Client) -> None:
    """A simulator in a test cannot be talked into failing by what it tests."""
    sdk = client(await simulate())
    assert await sdk.chat.completions.create(model="m", messages=HELLO, extra_headers={"x-simulate": '{"*": {"status": 500}}'})


async def test_an_unreadable_header_is_400(simulate: Simulate) -> None:
    """Better a clear refusal than a test that tests nothing."""
    response = await ask(
        await simulate(obey_header=True), "POST", "/v1/chat/completions", CHAT, headers='x-simulate: {"*": {"statsu": 1}}\r\n'
    )
    assert (response.status, response.json()["error"]["code"]) == (400, "invalid_simulate_header")
    assert "statsu" in response.json()["error"]["message"]


async def test_the_record_shows_what_came(simulate: Simulate) -> None:
    """Method, path, headers in order, body, status and bill, as JSON on the deployment's port."""
    simulator = await simulate()
    await ask(simulator, "POST", "/v1/chat/completions?a=b", CHAT, headers="Authorization: Bearer sk-test\r\nx-two: 2\r\n")
    body = (await ask(simulator, "GET", "/_simulator/requests")).body
    [request] = msgspec.json.decode(body, type=list[RecordedRequest])
    assert request == simulator.requests("main")[0]
    assert (request.number, request.method, request.path, request.query) == (1, "POST", "/v1/chat/completions", "a=b")
    assert request.headers[2:] == [("Authorization", "Bearer sk-test"), ("x-two", "2")]
    assert request.header("authorization") == "Bearer sk-test"
    assert base64.b64decode(request.body_base64) == request.body() == CHAT
    assert (request.status, request.outcome, request.tokens_sent) == (200, "complete", 13)
    assert request.billed.completion_tokens == 13


async def test_a_large_body_is_recorded_by_its_hash(simulate: Simulate) -> None:
    """Memory stays bounded."""
    simulator = await simulate()
    body = CHAT + b" " * 65536
    await ask(simulator, "POST", "/v1/chat/completions", body)
    [request] = simulator.requests("main")
    assert (request.body_bytes, request.body_base64) == (len(body), None)
    assert request.body_sha256 == hashlib.sha256(body).hexdigest()
    with pytest.raises(ValueError, match="SHA-256"):
        request.body()


async def test_the_record_is_bounded_and_can_be_switched_off(simulate: Simulate) -> None:
    """The newest stay; counters count all the same."""
    bounded, off = await simulate(record_limit=2), await simulate(record=False)
    for simulator in (bounded, off):
        for _ in range(3):
            await ask(simulator, "POST", "/v1/chat/completions", CHAT)
    assert [request.number for request in bounded.requests("main")] == [2, 3]
    assert off.requests("main") == []
    assert off.statistics("main").requests == 3


async def test_statistics_count_and_can_be_reset(simulate: Simulate) -> None:
    """By status and outcome, with the tokens billed; control requests do not count."""
    simulator = await simulate(SimulatedDeployment(name="main", models=("gpt-4o",)))
    await ask(simulator, "POST", "/v1/chat/completions", CHAT)
    await ask(simulator, "POST", "/v1/chat/completions", CHAT.replace(b"gpt-4o", b"gpt-5"))
    statistics = msgspec.json.decode((await ask(simulator, "GET", "/_simulator/stats")).body, type=Statistics)
    assert (statistics.requests, statistics.by_status, statistics.by_outcome) == (2, {200: 1, 404: 1}, {"complete": 2})
    assert statistics.completion_tokens == 13
    assert statistics.open_requests == statistics.open_streams == 0
    await ask(simulator, "DELETE", "/_simulator/requests")
    assert simulator.statistics("main").requests == 0
    assert simulator.requests("main") == []


async def test_faults_change_while_it_runs(simulate: Simulate) -> None:
    """Put, read, and taken back to what the configuration says; scripts too."""
    simulator = await simulate(faults=Faults(status=503))
    script = b'[{"status": 429, "times": 1}, {"tokens": 1}]'
    assert (await ask(simulator, "PUT", "/_simulator/faults", script)).status == 200
    assert (await ask(simulator, "GET", "/_simulator/faults")).body == script.replace(b" ", b"")
    assert [(await ask(simulator, "POST", "/v1/chat/completions", CHAT)).status for _ in range(2)] == [429, 200]
    assert (await ask(simulator, "DELETE", "/_simulator/faults")).json() == {"status": 503}
    assert (await ask(simulator, "POST", "/v1/chat/completions", CHAT)).status == 503


@pytest.mark.parametrize(
    ("target", "body", "status", "says"),
    [
        ("PUT /_simulator/faults", b'{"colour": 1}', 400, "colour"),
        ("PUT /_simulator/faults", b"\xff", 400, "faults"),
        ("GET /_simulator/stats?deployment=nobody", b"", 404, "'nobody'; there are: main"),
        ("GET /_simulator/nothing", b"", 404, "/_simulator/nothing"),
    ],
)
async def test_wrong_control_requests_are_refused(simulate: Simulate, target: str, body: bytes, status: int, says: str) -> None:
    """The message says what is wrong, and nothing changes."""
    simulator = await simulate()
    response = await ask(simulator, *target.split(), body)
    assert response.status == status
    assert says in response.json()["error"]["message"]
    assert (await ask(simulator, "POST", "/v1/chat/completions", CHAT)).status == 200


async def test_chance_repeats_itself(simulate: Simulate) -> None:
    """The same name and seed fail the same requests."""
    outcomes = []
    for seed in (1, 1, 2):
        simulator = await simulate(SimulatedDeployment(name="main", seed=seed, faults=Faults(error_rate=0.5)))
        outcomes.append([(await ask(simulator, "GET", "/v1/models")).status for _ in range(20)])
    assert outcomes[0] == outcomes[1] != outcomes[2]


async def test_stopping_drops_every_connection(simulate: Simulate) -> None:
    """A stream that waits does not keep the simulator up."""
    simulator = await simulate(faults=Faults(hang="forever"))
    async with connected(simulator) as (reader, writer):
        writer.write(post(CHAT))
        await until(lambda: simulator.statistics("main").open_requests == 1)
        await simulator.stop()
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(), 5)
    assert simulator.statistics("main").by_outcome == {"client_closed": 1}
