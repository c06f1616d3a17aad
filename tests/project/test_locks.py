"""The locks say what pyproject.toml says, with hashes, and lead to no particular index."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
RUNTIME = PROJECT["project"]["dependencies"]
EXTRAS = PROJECT["project"]["optional-dependencies"]
BUILD = PROJECT["dependency-groups"]["build"]
WEIGHTS = PROJECT["dependency-groups"]["weights"]

LOCKS = {
    "build": BUILD,
    "weights": WEIGHTS,
    "runtime": RUNTIME,
    "envoy": RUNTIME + EXTRAS["envoy"],
    "dev": RUNTIME + BUILD + [requirement for extra in EXTRAS.values() for requirement in extra],
}


@dataclass(frozen=True)
class Pin:
    """One locked distribution; ``is_direct`` when the lock says that the project itself asked for it."""

    name: str
    version: str
    hashes: int
    is_direct: bool


def read_lock(name: str) -> dict[str, Pin]:
    """Parse one lock: a requirement starts at the margin, its hashes and origins are indented below it."""
    blocks: list[list[str]] = []
    for line in (ROOT / "requirements" / f"{name}.lock").read_text().splitlines():
        if line.startswith(" "):
            blocks[-1].append(line)
        elif not line.startswith("#"):
            blocks.append([line])
    pins: dict[str, Pin] = {}
    for head, *rest in blocks:
        requirement = Requirement(head.rstrip("\\ "))
        (specifier,) = requirement.specifier
        assert specifier.operator == "==", head
        pins[canonicalize_name(requirement.name)] = Pin(
            name=canonicalize_name(requirement.name),
            version=specifier.version,
            hashes=sum("--hash=sha256:" in line for line in rest),
            is_direct=any("router-extproc (pyproject.toml" in line for line in rest),
        )
    return pins


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_answers_pyproject(name: str) -> None:
    """Each requirement of pyproject.toml is locked at a version it accepts, and no requirement that was dropped stays."""
    pins = read_lock(name)
    wanted = {canonicalize_name(Requirement(line).name): Requirement(line) for line in LOCKS[name]}
    assert {pin.name for pin in pins.values() if pin.is_direct} == set(wanted), "run `make lock`"
    for key, requirement in wanted.items():
        assert requirement.specifier.contains(pins[key].version), f"run `make lock`: {requirement} has {pins[key].version}"


@pytest.mark.parametrize("name", LOCKS)
def test_every_pin_has_hashes(name: str) -> None:
    """Nothing can be installed whose content was not known when it was locked."""
    assert [pin.name for pin in read_lock(name).values() if not pin.hashes] == []


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_names_no_index(name: str) -> None:
    """A lock works with whatever index its user has: it holds no address and no installer option but hashes."""
    text = (ROOT / "requirements" / f"{name}.lock").read_text()
    assert "://" not in text
    assert [word for word in text.split() if word.startswith("--") and not word.startswith("--hash=")] == []


@pytest.mark.parametrize("name", ["build", "runtime", "envoy"])
def test_what_ships_is_what_was_tested(name: str) -> None:
    """A distribution has one version, whichever lock it is installed from."""
    tested = {pin.name: pin.version for pin in read_lock("dev").values()}
    shipped = {pin.name: pin.version for pin in read_lock(name).values()}
    assert shipped.items() <= tested.items()


@pytest.mark.parametrize("name", LOCKS)
def test_torch_is_in_no_lock(name: str) -> None:
    """Nothing of this project needs torch, which is larger than all the rest; the weights are installed without it."""
    assert {"torch", "sentence-transformers", "transformers", "triton"} & set(read_lock(name)) == set()


def test_the_node_lock_does_the_same() -> None:
    """The Node packages of the tests are pinned as `package.json` says, with hashes, and lead to no particular registry."""
    folder = ROOT / "tests" / "end_to_end" / "node"
    wanted = json.loads((folder / "package.json").read_text())["dependencies"]
    packages = json.loads((folder / "package-lock.json").read_text())["packages"]
    assert packages.pop("")["dependencies"] == wanted
    assert {name: packages[f"node_modules/{name}"]["version"] for name in wanted} == wanted
    assert [name for name, package in packages.items() if "resolved" in package or "integrity" not in package] == []
