"""``keys``, ``budgets`` and ``audit`` against a running observer, typed where its user would type them."""

from __future__ import annotations

import fcntl
import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from router_extproc.cli import main
from router_extproc.cli.admin_client import own_address, table
from router_extproc.limits.identity import proves
from router_extproc.registry.spending import Budget, KeyGrant, Spending, Window
from router_extproc.store.identities import IdentityReader
from tests.cli.instances import running_instance
from tests.observer.entries import REGISTRY
from tests.observer.lines import ACCOUNT, MONEY, request_line

MONTH = Budget("team-month", "usd", 2_000_000, Window(calendar="month"), per=("tenant",))
Command = Callable[..., Any]


@pytest.fixture(scope="module")
def instance() -> Iterator[Path]:
    spending = Spending(budgets=(MONTH,), keys={"ci": KeyGrant("ci", "builds", ())})
    with running_instance(replace(REGISTRY, spending=spending)) as folder:
        yield folder


@pytest.fixture
def printed(instance: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs a command in the instance's directory, or a folder below; what it prints."""
    below = instance / "below"
    below.mkdir(exist_ok=True)
    monkeypatch.chdir(below)

    def run(*words: str, code: int = 0) -> str:
        capsys.readouterr()
        assert main(list(words)) == code
        output = capsys.readouterr()
        return output.out if code == 0 else output.err

    return run


@pytest.fixture
def answer(printed: Command) -> Command:
    """The same as JSON."""
    return lambda *words: json.loads(printed(*words, "--json"))


def test_a_key_with_a_budget(instance: Path, answer: Command) -> None:
    """One document with the key, which workers accept within a second."""
    made = answer("keys", "create", "--tenant", "new-tenant", "--budget-usd", "12.5", "--window", "day")
    assert set(made) == {"id", "key", "tenant", "expires_at", "budgets"}
    assert made["tenant"] == "new-tenant"
    assert [(each["window"], each["cap_usd"]) for each in made["budgets"]] == [("day", "12.500000")]
    reader = IdentityReader(instance / ".router-extproc" / "identities.sqlite")
    grant = reader.find(made["id"])
    reader.close()
    assert grant is not None
    assert proves(grant, made["key"], time.time())
    shown = answer("budgets", "show", "--tenant", "new-tenant")
    assert [budget["name"] for budget in shown["budgets"]] == ["team-month", f"key:{made['id']}:day"]


def test_all_that_can_be_said_of_a_key(answer: Command) -> None:
    """Each option arrives."""
    made = answer(
        "keys", "create", "--tenant", "t", "--team", "a", "--user", "b", "--tag", "app=chat=1", "--tag", "x=y",
        "--expires", "30d", "--models", "gpt-4o, gpt-*", "--tiers", "premium", "--routes", "auto", "--features", "f1,f2",
        "--priority", "batch", "--budget-usd", "1", "--window", "24h",
    )  # fmt: skip
    [key] = [key for key in answer("keys", "list", "--tenant", "t")["keys"] if key["id"] == made["id"]]
    assert (key["team"], key["user"], key["tags"]) == ("a", "b", {"app": "chat=1", "x": "y"})
    assert key["permissions"] == {"models": ["gpt-4o", "gpt-*"], "tiers": ["premium"], "routes": ["auto"]}
    assert (key["features"], key["priority"], key["budgets"][0]["window"]) == (["f1", "f2"], "batch", "rolling 1d")
    zoned = answer("keys", "create", "--tenant", "t", "--budget-usd", "1", "--window", "month", "--timezone", "Europe/Berlin")
    assert zoned["budgets"][0]["window"] == "month Europe/Berlin"
    assert answer("keys", "create", "--tenant", "t", "--budget-usd", "1")["budgets"][0]["window"] == "forever"


def test_for_people_the_key_stands_on_a_line_of_its_own(printed: Command) -> None:
    """It can be cut out, and what follows says that this was the only time."""
    lines = printed("keys", "create", "--tenant", "t", "--budget-usd", "3", "--window", "week").splitlines()
    assert re.fullmatch(r"sk-router-[a-z0-9]{16}\.[A-Za-z0-9_-]{43}", lines[0])
    assert lines[1].endswith("3.000000 USD, week")
    assert "only time" in lines[-1]
    rotated = printed("keys", "rotate", lines[0][10:26], "--overlap", "1h").splitlines()
    assert rotated[0][:26] == lines[0][:26]
    assert rotated[0] != lines[0]
    listed = printed("keys", "list")
    assert lines[0][10:26] in listed
    assert "ci" in listed
    assert lines[0][27:] not in listed
    assert printed("keys", "revoke", lines[0][10:26]) == f"{lines[0][10:26]} is revoked\n"
    assert re.search(rf"{lines[0][10:26]} +t +revoked", printed("keys", "list"))


def test_what_is_spent_shows(instance: Path, answer: Command, printed: Command) -> None:
    """Settled within a moment, to the micro-dollar, in the budget and in the sum."""
    now = int(time.time())
    year, month = time.gmtime(now)[:2]
    begin = int(time.mktime((year, month, 1, 0, 0, 0, 0, 0, 0)) - time.timezone)
    held = replace(MONEY, counter="usd:team-month|tenant=acme", bucket=begin, since=begin, expires_at=now + 86_400)
    log = instance / ".router-extproc" / "logs" / "access.jsonl"
    with log.open("ab") as file:
        file.write(request_line(account=replace(ACCOUNT, held=(held,))) + b"\n")
    deadline = time.monotonic() + 30
    while (shown := answer("budgets", "show", "--tenant", "acme"))["settled_usd"] == "0.000000":
        assert time.monotonic() < deadline
    assert (shown["tenant"], shown["reserved_usd"], shown["settled_usd"], shown["remaining_usd"]) == (
        ("acme", "0.000000", "0.000575", "1.999425")
    )
    [budget] = shown["budgets"]
    assert (budget["name"], budget["scope"], budget["window"], budget["cap_usd"], budget["settled_usd"]) == (
        ("team-month", "tenant=acme", "month", "2.000000", "0.000575")
    )
    assert printed("budgets", "show", "--tenant", "acme").splitlines()[0] == (
        "acme: 0.000575 USD settled, 0.000000 USD reserved, 1.999425 USD left"
    )


def test_a_raise(answer: Command, printed: Command) -> None:
    """The cap is higher at once, until the raise ends."""
    raised = answer("budgets", "raise", "team-month", "--usd", "3.25", "--until", "2h")
    assert (raised["budget"], raised["amount_usd"]) == ("team-month", "3.250000")
    [budget] = answer("budgets", "show", "--tenant", "acme")["budgets"]
    assert (budget["cap_usd"], budget["raised"]) == ("5.250000", True)
    assert printed("budgets", "raise", "team-month", "--usd", "1", "--until", "9999-12-31").startswith(
        "team-month: 1.000000 more from "
    )


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("budgets", "raise", "nothing", "--usd", "1", "--until", "2h"), "no such budget"),
        (("budgets", "raise", "team-month", "--tokens", "1", "--until", "2h"), "a raise in tokens of a budget in usd"),
        (("budgets", "raise", "team-month", "--usd", "-1", "--until", "2h"), "usd: an amount cannot be negative, found -1"),
        (("keys", "create", "--tenant", "t", "--budget-usd", "0.0000001"), "0.0000001 is finer than a millionth of a dollar"),
        (("keys", "create", "--tenant", "t", "--budget-usd", "99999999999"), "99999999999 is more than a billion dollars"),
        (("keys", "create", "--tenant", "t", "--budget-usd", "1,5"), "expected an amount in USD, found `1,5`"),
        (("budgets", "raise", "team-month", "--usd", "1", "--until", "2020-01-01"), "that is over already"),
        (("keys", "revoke", "nobody"), "no such key"),
        (("keys", "revoke", "ci"), "declared in router.yaml"),
        (("keys", "rotate", "nobody", "--overlap", "soon"), "overlap"),
        (("keys", "create", "--tenant", "t", "--models", "gpt-5"), "there is no model gpt-5"),
        (("keys", "create", "--tenant", "t", "--expires", "2020-01-01"), "that is over already"),
        (
            ("keys", "create", "--tenant", "t", "--budget-usd", "1", "--window", "day", "--timezone", "Mars"),
            "no time zone named",
        ),
    ],
)
def test_what_cannot_be_done_is_told(printed: Command, words: tuple[str, ...], complaint: str) -> None:
    """One line on standard error, exit code 1."""
    error = printed(*words, code=1)
    assert error.startswith("router-extproc: ")
    assert complaint in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize(
    "words",
    [
        ("--tag", "x"),
        ("--window", "day"),
        ("--timezone", "Europe/Berlin"),
        ("--budget-usd", "1", "--timezone", "Europe/Berlin"),
        ("--budget-usd", "1", "--window", "fortnight"),
        ("--budget-usd", "1", "--window", "24h", "--timezone", "Europe/Berlin"),
        ("--budget-usd", "1", "--window", "forever", "--timezone", "Europe/Berlin"),
        ("--tag", "app=chat", "--tag", "app=search"),
        ("--models", ""),
        ("--routes", " , "),
        ("--tiers", ","),
        ("--regions", ""),
        ("--features", ""),
    ],
)
def test_options_that_do_not_fit_together_are_wrong_use(
    printed: Command, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    """Nothing is asked, and no key that may do more than was meant is made: a tag without a value or with two, a window without
    an amount, a zone without a window that begins in it, a window that is none, a list that an empty variable left empty.
    """
    with pytest.raises(SystemExit) as ended:
        printed("keys", "create", "--tenant", "mistaken", *words)
    assert ended.value.code == 2
    assert "--" in capsys.readouterr().err
    assert "mistaken" not in printed("keys", "list")


def test_every_change_is_in_the_audit_log(answer: Command, printed: Command) -> None:
    """The newest first, for people and machines."""
    made = answer("keys", "create", "--tenant", "audited")
    answer("keys", "revoke", made["id"])
    newest = answer("audit", "--limit", "2")["entries"]
    assert [(entry["action"], entry["subject"], entry["actor"]) for entry in newest] == [
        ("key.revoke", made["id"], "local"),
        ("key.create", made["id"], "local"),
    ]
    older = answer("audit", "--limit", "1", "--before", str(newest[0]["sequence"]))["entries"]
    assert older == newest[1:]
    assert re.search(rf"local +key.revoke +{made['id']} +tenant=audited", printed("audit"))
    assert ("configuration.apply", "file") in {
        (entry["action"], entry["actor"]) for entry in answer("audit", "--limit", "1000")["entries"]
    }


def test_without_an_instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """What is missing and what to do."""
    monkeypatch.chdir(tmp_path)
    assert main(["keys", "list"]) == 1
    assert "no instance runs here" in capsys.readouterr().err
    state = tmp_path / "state"
    state.mkdir()
    (state / "instance.json").write_text('{"admin": "http://127.0.0.1:1"}')
    assert main(["keys", "list", "--state", str(state)]) == 1
    assert "http://127.0.0.1:1 cannot be reached" in capsys.readouterr().err


def test_an_instance_that_was_killed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its address may be another instance's by now, so nobody is asked there; who holds the directory is asked."""
    (tmp_path / "instance.json").write_text('{"admin": "http://127.0.0.1:1"}')
    with (tmp_path / "lock").open("w") as lock:
        assert main(["keys", "list", "--state", str(tmp_path)]) == 1
        assert f"the instance in {tmp_path} was killed: start it again" in capsys.readouterr().err
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert main(["keys", "list", "--state", str(tmp_path)]) == 1
        assert "http://127.0.0.1:1 cannot be reached" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("told", "own"),
    [
        ("http://127.0.0.1:9902", "http://127.0.0.1:9902"),
        ("http://0.0.0.0:9902", "http://127.0.0.1:9902"),
        ("http://:::9902", "http://[::1]:9902"),
        ("http://::1:9902", "http://[::1]:9902"),
        ("http://[::]:9902", "http://[::1]:9902"),
        ("http://10.0.0.1:9902", "http://10.0.0.1:9902"),
    ],
)
def test_the_address_is_one_that_can_be_called(told: str, own: str) -> None:
    """An instance that listens on all addresses is asked at this machine's own."""
    assert own_address(told) == own


def test_tables_have_no_trailing_blanks() -> None:
    """Columns as wide as their widest cell."""
    assert table(("A", "B"), [("long", "x"), ("s", "")]) == "A     B\nlong  x\ns"
