"""The examples in ``envoy/`` are what ``render`` writes today, and the real Envoy accepts them."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from router_extproc.cli import main
from tests.envoyconf.running import ENVOY
from tests.envoyconf.typed import static_bootstrap

EXAMPLES = Path(__file__).parents[2] / "envoy"
FOLDERS = {"laptop": "laptop", "sidecar": "sidecar", "egress": "egress-gateway"}


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("profile", FOLDERS)
def test_example_is_fresh(profile: str, tmp_path: Path) -> None:
    """An example equals what the renderer writes."""
    assert main(["render", "--profile", profile, "-o", str(tmp_path)]) == 0
    example, rendered = files_below(EXAMPLES / FOLDERS[profile]), files_below(tmp_path)
    stale = {name for name in example | rendered if example.get(name) != rendered.get(name)}
    assert stale == set(), f"write them again: router-extproc render --profile {profile} -o envoy/{FOLDERS[profile]}"


@pytest.mark.parametrize("profile", FOLDERS)
def test_example_holds_no_secret(profile: str) -> None:
    """The secret files of an example are empty."""
    for file in (EXAMPLES / FOLDERS[profile] / "secrets").iterdir():
        assert set(_strings_under("inline_string", json.loads(file.read_bytes()))) == {""}


@pytest.mark.end_to_end
@pytest.mark.parametrize("profile", FOLDERS)
def test_envoy_accepts_the_example(profile: str, tmp_path: Path) -> None:
    """Envoy accepts the bootstrap in its own folder, and everything that it reads later."""
    folder = tmp_path / "example"
    shutil.copytree(EXAMPLES / FOLDERS[profile], folder)
    # `serve` makes this folder; Envoy opens its access log even to validate.
    (folder / ".router-extproc" / "logs").mkdir(parents=True)
    everything = {name: yaml.safe_load((folder / f"{name}.yaml").read_text()) for name in ("bootstrap", "lds", "rds", "cds")}
    static = tmp_path / "static.json"
    static.write_text(json.dumps(static_bootstrap(everything)))
    for file in ("bootstrap.yaml", str(static)):
        command = [ENVOY, "--mode", "validate", "-c", file]
        result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr


def _strings_under(key: str, value: object) -> list[str]:
    if isinstance(value, dict):
        found = [each for name, inner in value.items() if name != key for each in _strings_under(key, inner)]
        return [*found, *([value[key]] if key in value else [])]
    return [each for inner in value for each in _strings_under(key, inner)] if isinstance(value, list) else []
