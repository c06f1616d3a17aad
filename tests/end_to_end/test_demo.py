"""`up --or-demo` without file and key is a working demo: what it prints can be pasted, and faults can be scripted."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.isolated import Command, Loopback, NotPermittedError
from tests.end_to_end.running import until

pytestmark = pytest.mark.end_to_end

QUICKSTART = """
from openai import OpenAI
client = OpenAI(base_url="http://127.0.0.1:10000/v1", api_key="anything")
print(client.chat.completions.create(model="auto", messages=[{"role": "user", "content": "Hello"}]).choices[0].message.content)
"""


@pytest.fixture(scope="module")
def network() -> Iterator[Loopback]:
    try:
        made = Loopback()
    except NotPermittedError:
        pytest.skip("this machine does not permit network namespaces, and the default ports may be in use")
    yield made
    made.close()


@pytest.fixture(scope="module")
def demo(network: Loopback, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    with Command(network, tmp_path_factory.mktemp("demo"), "up", "--or-demo") as command:
        yield command


def curl_line(demo: Command) -> str:
    """The printed line, as a user would copy it."""
    return demo.printed.splitlines()[-1].strip()


def pasted(network: Loopback, line: str) -> tuple[int, dict[str, str], str]:
    """Status, headers and body of what a shell makes of it."""
    done = network.run("sh", "-c", f"{line} --silent")
    assert done.returncode == 0, done.stderr
    head, _, body = done.stdout.replace("\r\n", "\n").partition("\n\n")
    status, *lines = head.splitlines()
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return int(status.split(" ")[1]), headers, body


def test_the_printed_line_works(network: Loopback, demo: Command) -> None:
    """The curl line that the demo prints is answered by a simulated provider, chosen by the router."""
    status, headers, body = pasted(network, curl_line(demo))
    assert status == 200, body
    answer = json.loads(body)
    assert "simulated" in answer["choices"][0]["message"]["content"]
    assert headers["x-router-route"] == "auto"
    assert headers["x-router-decision"]
    # Where the machine stood still the prompt was not judged in time, and the safe choice is a stronger model.
    judged = until(lambda: (later := pasted(network, curl_line(demo))[1])["x-router-reason"] != "analysis-deadline" and later)
    assert judged["x-router-model"] == "gpt-4o-mini", "the cheapest of the demo's"


def test_every_printed_address_answers(network: Loopback, demo: Command) -> None:
    """Whatever address is printed can be opened."""
    addresses = re.findall(r"http://\S+", demo.printed.split("Try:")[0])
    assert len(addresses) == 3
    for address in addresses:
        page = address + "/models" if address.endswith("/v1") else address
        done = network.run("curl", "--silent", "--fail", "--output", "/dev/null", page)
        assert done.returncode == 0, page


def test_a_second_demo_runs_on_other_ports(network: Loopback, demo: Command, tmp_path: Path) -> None:
    """Where the ports are taken the command says which option helps, and with other ports it serves beside the first."""
    done = network.run(sys.executable, "-m", "router_extproc", "up", "--demo", folder=tmp_path)
    assert done.returncode == 1
    assert "--admin-port on the command line" in done.stderr
    ports = {"--port": "12000", "--admin-port": "12002", "--envoy-admin-port": "12001"}
    words = [word for option in ports.items() for word in option]
    with Command(network, tmp_path, "up", "--demo", *words) as second:
        status, headers, _ = pasted(network, curl_line(second))
        assert (status, headers["x-router-route"]) == (200, "auto")
        assert re.findall(r"http://127.0.0.1:(\d+)", second.printed) == ["12000", "12002", "12001", "12000"]
    assert pasted(network, curl_line(demo))[0] == 200


def test_three_lines_of_python_are_enough(network: Loopback, demo: Command) -> None:
    """The SDK needs a base URL and any key: three lines, and no line of configuration."""
    assert len(QUICKSTART.strip().splitlines()) <= 5
    done = network.run(sys.executable, "-c", QUICKSTART)
    assert done.returncode == 0, done.stderr
    assert "simulated this answer" in done.stdout


@pytest.mark.parametrize("stream", [False, True])
def test_a_header_scripts_the_providers(network: Loopback, demo: Command, *, stream: bool) -> None:
    """In the demo `x-simulate` makes any provider fail for one request, which then falls back as it would for real."""
    line = curl_line(demo).replace('"model": "auto"', f'"model": "gpt-4o", "stream": {json.dumps(stream)}')
    assert pasted(network, line)[0] == 200
    down = json.dumps({"simulated-openai": {"status": 503}})
    backup = json.dumps({"simulated-backup": {"status": 503}})
    answered = set()
    for script in (down, backup):
        status, headers, _ = pasted(network, f"{line} -H 'x-simulate: {script}'")
        assert status == 200
        answered.add(headers["x-router-deployment"])
    assert answered == {"simulated-backup/gpt-4o", "simulated-openai/gpt-4o"}
    everyone = json.dumps({"*": {"status": 503}})
    status, headers, body = pasted(network, f"{line} -H 'x-simulate: {everyone}'")
    assert (status, headers["x-router-attempts"]) == (503, "2")
    assert "error" in json.loads(body)
    assert pasted(network, line)[0] == 200, "the script was for one request only"
