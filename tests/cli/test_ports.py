"""Ports from the command line: before those of the file, checked like those."""

from __future__ import annotations

import argparse

import pytest

from router_extproc.cli import main
from router_extproc.cli.ports import Ports, add_port_arguments, ports_of, with_ports
from router_extproc.config.load import parse_config
from router_extproc.errors import ConfigurationError

FILE = """
listener: {port: 11000, address: 127.0.0.1}
admin: {token: {env: TOKEN}}
providers: {openai: {base_url: "https://api.openai.com/v1", models: [gpt-5.4-mini]}}
"""


def given(*words: str) -> Ports:
    parser = argparse.ArgumentParser()
    add_port_arguments(parser)
    return ports_of(parser.parse_args(words))


def test_what_is_given_replaces_the_port_and_nothing_else() -> None:
    """The file's other keys stay, and so do the ports that were not given."""
    before = parse_config(FILE)
    after = with_ports(before, given("--port", "12000", "--envoy-admin-port", "12001"))
    assert (after.listener.port, after.envoy.admin_port, after.admin.port) == (12000, 12001, 9902)
    assert after.admin == before.admin
    assert with_ports(after, given("--port", "11000", "--envoy-admin-port", "9901")) == before
    assert with_ports(before, given()) == before


@pytest.mark.parametrize("words", [("--port", "9902"), ("--admin-port", "11000"), ("--port", "5", "--envoy-admin-port", "5")])
def test_a_port_that_is_used_twice_is_refused(words: tuple[str, ...]) -> None:
    """Before anything is started, with the option that would help."""
    with pytest.raises(ConfigurationError, match=r"is also that of .*--(admin-port|envoy-admin-port)"):
        with_ports(parse_config(FILE), given(*words))


@pytest.mark.parametrize("text", ["0", "65536", "-1", "http", "", "1e3", "٣"])
def test_what_is_no_port_is_wrong_use(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Told by the command line itself, with exit code 2."""
    with pytest.raises(SystemExit) as ended:
        main(["up", "--demo", f"--port={text}"])
    assert ended.value.code == 2
    assert "is not a port from 1 to 65535" in capsys.readouterr().err
