"""All rendered files together: typed, accepted by Envoy, stable, and without secrets outside the secrets."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from router_extproc.config.schema import RouterConfig
from router_extproc.envoyconf import render
from router_extproc.errors import StartError
from router_extproc.registry.snapshot import Registry
from tests.envoyconf.running import ENVOY, write
from tests.envoyconf.samples import Folders, configuration, registry_of
from tests.envoyconf.typed import UNKNOWN_TYPES, parse, static_bootstrap, types_in

KEYS = {"FIRST_KEY": "sk-canary-one", "SECOND_KEY": " sk-canary-two\n"}

EVERYTHING: dict[str, Any] = {
    "limits": {"max_body_bytes": "100MiB"},
    "routes": {
        "auto": {"targets": ["small"], "timeouts": {"stream_idle": "10m", "first_token": "20s"}},
        "checked": {"targets": ["small"], "check": {"answer": True}},
    },
}

TOKENS: dict[str, Any] = {
    "auth": {"mode": "jwt", "jwt": {"issuer": "https://issuer.example", "jwks_uri": "https://issuer.example/keys"}}
}


def documents(files: dict[str, bytes]) -> dict[str, Any]:
    return {name.removesuffix(".json"): json.loads(content) for name, content in files.items() if name.endswith("ds.json")} | {
        "bootstrap": json.loads(files["bootstrap.json"])
    }


def rendered(folders: Folders, config: RouterConfig, registry: Registry | None = None) -> dict[str, bytes]:
    return render(config, registry or registry_of(config), folders, 3, KEYS)


@pytest.mark.parametrize("changes", [{}, EVERYTHING, TOKENS, {"providers": {}, "models": {}}])
def test_every_field_exists(folders: Folders, changes: dict[str, Any]) -> None:
    """Every message that the compiled schema knows has only fields it knows, with values of their types."""
    assert parse(static_bootstrap(documents(rendered(folders, configuration(changes))))).node.id == "router-extproc"


def test_types_unknown_to_the_schema_are_few(folders: Folders) -> None:
    """What only the real Envoy can check is the three messages that are newer than the compiled schema."""
    unknown = {
        name
        for name in types_in(documents(rendered(folders, configuration(EVERYTHING))))
        if name in UNKNOWN_TYPES or not name.startswith("envoy.")
    }
    assert unknown == UNKNOWN_TYPES


@pytest.mark.end_to_end
@pytest.mark.parametrize("changes", [{}, EVERYTHING, TOKENS, {"providers": {}, "models": {}}])
def test_envoy_accepts_it(folders: Folders, tmp_path: Path, changes: dict[str, Any]) -> None:
    """The real Envoy finds nothing wrong, also when nothing is configured yet."""
    files = rendered(folders, configuration(changes))
    write(files, folders.envoy)
    folders.logs.mkdir()
    # Envoy reads the files that the bootstrap names only once it runs: give it everything in one.
    file = tmp_path / "static.json"
    file.write_text(json.dumps(static_bootstrap(documents(files))))
    result = subprocess.run([ENVOY, "--mode", "validate", "-c", file], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    result = subprocess.run(
        [ENVOY, "--mode", "validate", "-c", folders.envoy / "bootstrap.json"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


def test_equal_configuration_gives_equal_bytes(folders: Folders) -> None:
    """Nothing depends on time or chance, so a reload without a change writes nothing."""
    assert rendered(folders, configuration(EVERYTHING)) == rendered(folders, configuration(EVERYTHING))


def test_versions_follow_the_content(folders: Folders) -> None:
    """The version Envoy reports changes exactly when the file's resources do."""
    before = documents(rendered(folders, configuration()))
    after = documents(rendered(folders, configuration({"routes": {"slow": {"timeouts": {"stream_idle": "1h"}}}})))
    changed = {name for name in ("cds", "lds", "rds") if before[name]["version_info"] != after[name]["version_info"]}
    assert changed == {"rds"}


def test_clusters_come_before_what_names_them(folders: Folders) -> None:
    """Written in this order, no file names something that Envoy has not been given."""
    assert list(rendered(folders, configuration()))[-8:] == [
        "answered.lua",
        "router.lua",
        "undecided.lua",
        "usage.lua",
        "cds.json",
        "rds.json",
        "lds.json",
        "bootstrap.json",
    ]


def test_keys_are_in_the_secrets_and_nowhere_else(folders: Folders) -> None:
    """A key stands in the one file that Envoy reads it from."""
    holding = {name: content for name, content in rendered(folders, configuration()).items() if b"sk-canary" in content}
    assert set(holding) == {"secrets/cloud@first.json", "secrets/cloud@2.json"}


def test_certificate_that_cannot_be_read(folders: Folders) -> None:
    """A missing certificate is refused by name before Envoy is given a listener without one."""
    config = configuration({"listener": {"tls": {"certificate": "/nowhere/tls.crt", "key": "/nowhere/tls.key"}}})
    with pytest.raises(StartError, match=r"listener\.tls\.certificate: /nowhere/tls\.crt cannot be read"):
        rendered(folders, config)
