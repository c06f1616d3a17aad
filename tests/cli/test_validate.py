"""``router-extproc validate`` as users call it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from router_extproc.cli import main

CLEAN = """\
providers:
  openai: {base_url: https://api.openai.com/v1, models: [gpt-4o-mini, gpt-4o]}
"""
UNWISE = CLEAN.replace("[gpt-4o-mini, gpt-4o]", "[gpt-4o]")
WRONG = CLEAN.replace("base_url", "base_ulr")


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "router.yaml"


@pytest.mark.parametrize(
    ("text", "arguments", "code"),
    [
        (CLEAN, [], 0),
        (CLEAN, ["--strict"], 0),
        (UNWISE, [], 0),
        (UNWISE, ["--strict"], 1),
        (WRONG, [], 1),
    ],
)
def test_exit_codes(file: Path, text: str, arguments: list[str], code: int) -> None:
    """0 for a file that can be used, 1 for one that cannot, and for warnings when they are asked to count."""
    file.write_text(text)
    assert main(["validate", *arguments]) == code


def test_a_missing_file_is_wrong_use(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Validating what does not exist finds nothing about it: the call was wrong."""
    assert main(["validate", "other.yaml"]) == 2
    assert capsys.readouterr().err == "router-extproc validate: there is no file other.yaml\n"


def test_every_problem_is_a_line_and_a_summary_ends_them(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Problems come one a line in file order, as editors and compilers write them; the last line counts."""
    file.write_text(WRONG)
    main(["validate"])
    assert capsys.readouterr().out.splitlines() == [
        "router.yaml:2:3: error: providers.openai.base_url: is missing (for example `base_url: https://api.openai.com/v1`)",
        "router.yaml:2:12: error: providers.openai.base_ulr: unknown key (did you mean `base_url`?)",
        "router.yaml: 2 errors",
    ]
    file.write_text(UNWISE)
    main(["validate"])
    warning, summary = capsys.readouterr().out.splitlines()
    assert warning.startswith("router.yaml:1:1: warning: routes.auto: a chain of one")
    assert summary.startswith("router.yaml: valid, 1 models, 1 deployments, 5 routes, revision ")
    assert summary.endswith("; 1 warning")


def test_json_holds_the_same(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Machines read the same problems with their stable codes, and what the file amounts to."""
    file.write_text(WRONG)
    assert main(["validate", "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert (report["valid"], report["errors"], report["warnings"]) == (False, 2, 0)
    assert [(problem["line"], problem["code"]) for problem in report["problems"]] == [(2, "missing_key"), (2, "unknown_key")]
    file.write_text(CLEAN)
    assert main(["validate", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["valid"], report["models"], report["problems"]) == (True, 2, [])
    assert report["default_chain"] == ["openai/gpt-4o", "openai/gpt-4o-mini"]


def test_who_may_call_and_spend_is_told(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever reads the last line sees whether callers are asked for a key, and how many budgets hold."""
    file.write_text(CLEAN + "auth: keys\nbudgets: {a: {usd: 1}, b: {requests: 5, mode: observe}}\n")
    main(["validate"])
    assert ", auth keys, 2 budgets, revision " in capsys.readouterr().out
    main(["validate", "--json"])
    report = json.loads(capsys.readouterr().out)
    assert (report["auth"], report["keys"], report["budgets"], report["refuses_undecided"]) == ("keys", 0, 2, True)
    file.write_text(CLEAN)
    main(["validate", "--json"])
    report = json.loads(capsys.readouterr().out)
    assert (report["auth"], report["keys"], report["budgets"], report["refuses_undecided"]) == (None, 0, 0, False)


def test_a_key_in_the_environment_is_not_printed(file: Path, tmp_path: Path) -> None:
    """Neither a key in the environment nor one in a file appears in anything that validate writes."""
    canary = "sk-canary-0123456789abcdef"
    (tmp_path / "key").write_text(canary)
    file.write_text(CLEAN.replace("models:", "credentials: [{env: CANARY_KEY}, {file: key}, {env: NO_SUCH_KEY}], models:"))
    done = subprocess.run(
        [sys.executable, "-c", "import sys; from router_extproc.cli import main; sys.exit(main(['validate', '--json']))"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "CANARY_KEY": canary, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert "NO_SUCH_KEY is not set" in done.stdout
    assert canary not in done.stdout + done.stderr


def test_an_encoder_that_is_not_there_is_told(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever chooses minilm must make it once; without it a worker would serve without its classifier."""
    monkeypatch.setenv("ROUTER_EXTPROC_ARTEFACT", str(tmp_path))
    file.write_text(CLEAN + "analysis: {encoder: minilm, semantic_routes: {a: {description: b}}}\n")
    main(["validate"])
    found = [line for line in capsys.readouterr().out.splitlines() if "analysis.encoder" in line]
    assert len(found) == 1
    assert f"{tmp_path}/minilm_int8.onnx is missing (make it once with `router-extproc train --minilm`" in found[0]
    (tmp_path / "minilm_int8.onnx").touch()
    main(["validate"])
    assert "analysis.encoder" not in capsys.readouterr().out
