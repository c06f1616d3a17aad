"""What the page about Redis says is what the code does."""

from __future__ import annotations

import re

from router_extproc.store import redis_start
from router_extproc.store.redis_identities import MOST_AUDIT_ENTRIES
from router_extproc.store.redis_lane import _DEADLINES_OF_SILENCE, _MOST_REPRIEVES
from router_extproc.store.redis_recovery import LONGEST_WAIT_MS, WAIT_MS
from router_extproc.store.redis_servers import ClusterServers
from router_extproc.store.redis_start import COMMANDS
from tests.docs.documents import ROOT, prose
from tests.redis_servers import ROUTER_COMMANDS, SENTINEL_COMMANDS

PAGE = "docs/redis.md"


def test_the_rights_are_those_that_are_enough() -> None:
    """The rule that the page shows is the one that the tests run with and that a refused start names."""
    shown = re.findall(r"^ACL SETUSER router on >PASSWORD ~router:\* (.*)$", (ROOT / PAGE).read_text("utf-8"), re.MULTILINE)
    assert shown == [COMMANDS] == [ROUTER_COMMANDS]
    shown = re.findall(r"^ACL SETUSER router on >PASSWORD (\+sentinel.*)$", (ROOT / PAGE).read_text("utf-8"), re.MULTILINE)
    assert shown == [redis_start.SENTINEL_COMMANDS] == [SENTINEL_COMMANDS]


def test_figures() -> None:
    """Places, waits and numbers of entries are those of the code."""
    text = prose(PAGE)
    assert f"over {len(ClusterServers.tags)} places" in text
    assert f"`{{{ClusterServers.tags[-1]}}}`" in text
    assert f"{MOST_AUDIT_ENTRIES:,}" in text
    assert WAIT_MS == 1_000
    assert (_MOST_REPRIEVES, _DEADLINES_OF_SILENCE) == (10, 3)
    assert f"{LONGEST_WAIT_MS // 1_000} seconds at most" in text


def test_no_script_needs_more() -> None:
    """Every command that a script uses is in the rule, and is tried at the start."""
    folder = ROOT / "router_extproc/store/lua"
    texts = {file.name: file.read_text("utf-8") for file in folder.glob("*.lua")}
    tried = {command.lower() for command in re.findall(r"\{ '(\w+)'", texts.pop("check.lua"))} | {"info"}
    used = {command.lower() for text in texts.values() for command in re.findall(r"redis\.p?call\(\s*'(\w+)'", text)}
    assert used <= tried
    assert {f"+{command}" for command in tried} <= set(COMMANDS.split())
