"""Workers and observer never open a connection to anywhere but this machine."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tied import tied

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(120)]

REPOSITORY = Path(__file__).parents[2]
NAMESPACE = ["unshare", "--user", "--map-root-user", "--net"]


def why_not_isolated() -> str | None:
    """What keeps this machine from giving a process a network of its own."""
    try:
        tried = subprocess.run([*NAMESPACE, "true"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "there is no unshare(1)"
    return tried.stderr.strip() or f"exit code {tried.returncode}" if tried.returncode else None


def test_an_instance_never_tries_to_leave_the_machine(tmp_path: Path) -> None:
    """With loopback as its only network all is served, decided and analysed, and the kernel counted no attempt to leave."""
    if reason := why_not_isolated():
        pytest.skip(f"NOT TESTED that nothing leaves the machine: no network namespace to be had here ({reason})")
    run = subprocess.run(
        tied([*NAMESPACE, sys.executable, "-m", "tests.end_to_end.without_network", str(tmp_path)]),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout.splitlines()[-1])
    assert found["noticed"] >= 2, "the counter does not see what it should"
    assert found == {
        "statuses": [200] * 5,
        "degraded": [],
        "analysed": ["auto:economy"] * 2,
        "noticed": found["noticed"],
        "attempts": 0,
    }


# Python tells an audit hook of every connection that its own sockets make, and of every name that is looked up.
AUDIT = """
import importlib, pkgutil, sys
told = []
sys.addaudithook(lambda event, arguments: told.append((event, repr(arguments))) if event in {EVENTS!r} else None)
import router_extproc
for module in pkgutil.walk_packages(router_extproc.__path__, "router_extproc."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
router = router_extproc.Router.from_file(sys.argv[1])
body = b'{"model": "auto", "messages": [{"role": "user", "content": "Hello"}]}'
decision = router.decide(router.read("POST", "/v1/chat/completions", {}, body))
print(decision.route, len(decision.signals) > 3, told)
"""
EVENTS = {"socket.connect", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo", "socket.gethostbyname", "urllib.Request"}


def test_importing_and_deciding_connect_to_nobody(tmp_path: Path) -> None:
    """Every module imported, a file read, a request decided: no socket was connected and no name looked up."""
    file = tmp_path / "router.yaml"
    file.write_text("providers: {openai: {base_url: 'https://api.openai.com/v1', models: [gpt-4o]}}\n")
    program = AUDIT.replace("{EVENTS!r}", repr(EVENTS))
    run = subprocess.run([sys.executable, "-c", program, str(file)], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (run.stdout.strip(), run.stderr) == ("auto True []", "")
