"""``router-extproc render``: what it writes, where, and what it keeps to itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from router_extproc.cli import main
from router_extproc.config.state import StateDirectory

ROUTER = """
providers:
  p:
    base_url: http://127.0.0.1:9/v1
    credentials: [{env: RENDER_TEST_KEY}]
models:
  m: {deployments: [{provider: p}]}
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RENDER_TEST_KEY", "sk-canary")
    path = tmp_path / "router.yaml"
    path.write_text(ROUTER)
    return path


def test_writes_what_envoy_reads(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every file is written and named; they name one another where they were written."""
    out = tmp_path / "out"
    assert main(["render", "--config", str(file), "-o", str(out), "--json"]) == 0
    written = json.loads(capsys.readouterr().out)["files"]
    scripts = ["answered.lua", "router.lua", "undecided.lua", "usage.lua"]
    assert written == ["secrets/p@1.json", *scripts, "cds.json", "rds.json", "lds.json", "bootstrap.json"]
    bootstrap = json.loads((out / "bootstrap.json").read_bytes())
    assert bootstrap["dynamic_resources"]["cds_config"]["path_config_source"]["path"] == str(out / "cds.json")


def test_sockets_are_those_of_the_instance(file: Path, tmp_path: Path) -> None:
    """Envoy finds the workers of the instance that serves the same file."""
    main(["render", "--config", str(file), "-o", str(tmp_path / "out"), "--state", str(tmp_path / "s")])
    socket = StateDirectory(tmp_path / "s").worker_socket(0)
    assert f'"{socket}"' in (tmp_path / "out" / "bootstrap.json").read_text()


def test_keys_are_written_only_when_asked(file: Path, tmp_path: Path) -> None:
    """Without --with-secrets no key leaves the environment; with it, into a file for the owner alone."""
    out = tmp_path / "out"
    main(["render", "--config", str(file), "-o", str(out)])
    assert not [path for path in out.rglob("*.*") if "sk-canary" in path.read_text()]
    main(["render", "--config", str(file), "-o", str(out), "--with-secrets"])
    holding = [path for path in out.rglob("*.*") if "sk-canary" in path.read_text()]
    assert [path.name for path in holding] == ["p@1.json"]
    assert holding[0].stat().st_mode & 0o777 == 0o600


def test_commented_form(file: Path, tmp_path: Path) -> None:
    """--commented writes YAML that explains itself."""
    out = tmp_path / "out"
    main(["render", "--config", str(file), "-o", str(out), "--commented"])
    assert (out / "rds.yaml").read_text().startswith("# Which request goes where.")


def test_wrong_file_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that cannot be used is refused with its place, and nothing is written."""
    path = tmp_path / "router.yaml"
    path.write_text("providers: {p: {base_url: nonsense}}\n")
    assert main(["render", "--config", str(path), "-o", str(tmp_path / "out")]) == 1
    assert "router.yaml:1:" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
