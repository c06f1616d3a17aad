"""The floors of the house are watched: a planted breach of each contract is caught, the permitted neighbours are not."""

from __future__ import annotations

import configparser
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

FRONT_AND_EDGES = ["cli", "supervisor", "console", "kubernetes", "simulator", "extproc", "observer", "envoyconf", "training"]
ROOMS = ["guard", "cache", "limits", "policy", "quality"]
GROUND = ["analysis", "config", "dialects", "registry", "store", "telemetry"]
PACKAGES = [*FRONT_AND_EDGES, *ROOMS, *GROUND]
MODULES = ["__main__", "account", "caller", "decision", "errors", "explaining", "facts", "outlook", "request", "router"]

FLOORS = "Floors"
PURITY = "Purity"
EDGES = "Edges"
LEAN_WORKERS = "Lean workers"
WORKSHOP = "Workshop"

BREACHES = {
    "a room imports a floor above": (FLOORS, {"policy/chain.py": "import router_extproc.router"}),
    "a room imports its neighbour": (FLOORS, {"guard/loops.py": "import router_extproc.cache"}),
    "one edge imports another": (FLOORS, {"observer/logs.py": "from router_extproc.extproc import server"}),
    "something imports the front door": (FLOORS, {"simulator/app.py": "import router_extproc.cli"}),
    "a process knows its supervisor": (FLOORS, {"observer/logs.py": "import router_extproc.supervisor"}),
    "a ground room imports one it may not": (FLOORS, {"store/rows.py": "import router_extproc.telemetry"}),
    "the permitted neighbours are permitted one way only": (FLOORS, {"dialects/chat.py": "import router_extproc.analysis"}),
    "a dialect reads more of the registry than its values": (
        FLOORS,
        {"dialects/openai_models.py": "import router_extproc.registry.compile", "registry/compile.py": ""},
    ),
    "a room without a floor": (FLOORS, {"helpers/__init__.py": ""}),
    "a clock in a policy": (PURITY, {"policy/chain.py": "import time"}),
    "the network in a dialect": (PURITY, {"dialects/chat.py": "import asyncio"}),
    "a clock behind a friend": (
        PURITY,
        {"analysis/facts.py": "import router_extproc.errors", "errors.py": "import time"},
    ),
    "gRPC in a room": (EDGES, {"cache/answers.py": "import grpc"}),
    "Envoy's messages in the front door": (
        EDGES,
        {"cli/up.py": "from envoy.service.ext_proc.v3 import external_processor_pb2"},
    ),
    "the schema in a worker": (LEAN_WORKERS, {"extproc/server.py": "import pydantic"}),
    "the schema behind a friend": (
        LEAN_WORKERS,
        {"extproc/server.py": "import router_extproc.registry", "registry/__init__.py": "import yaml"},
    ),
    "a deciding room imports the workshop": (FLOORS, {"analysis/facts.py": "import router_extproc.training"}),
    "a training library in a head": (WORKSHOP, {"analysis/facts.py": "import sklearn"}),
    "a training library behind a friend": (
        WORKSHOP,
        {"extproc/server.py": "import router_extproc.analysis", "analysis/__init__.py": "import tokenizers"},
    ),
}


def build_house(directory: Path, files: dict[str, str]) -> None:
    """Write a package with every room empty, then the given files over it."""
    package = directory / "router_extproc"
    empty = ["__init__.py", *(f"{name}/__init__.py" for name in PACKAGES), *(f"{name}.py" for name in MODULES)]
    for path, text in (dict.fromkeys(empty, "") | {"extproc/server.py": ""} | files).items():
        target = package / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text + "\n")


def check(directory: Path) -> subprocess.CompletedProcess[str]:
    """Run the project's own contracts over the package in ``directory``."""
    return subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache", "--no-logo", "--config", ROOT / ".importlinter"],
        cwd=directory,
        env=os.environ | {"PYTHONPATH": str(directory), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


def broken_contracts(output: str) -> set[str]:
    """The short names of the contracts that the report calls broken."""
    return {line.partition(":")[0] for line in output.splitlines() if line.endswith("BROKEN")}


def test_an_empty_house_keeps_every_contract(tmp_path: Path) -> None:
    """With every room present and empty, all five contracts are kept."""
    build_house(tmp_path, {})
    result = check(tmp_path)
    assert result.returncode == 0, result.stdout
    assert "Contracts: 5 kept, 0 broken." in result.stdout


def test_what_the_design_permits_is_kept(tmp_path: Path) -> None:
    """Analysis may read dialects, a dialect the registry's values, the registry the configuration; edges may use gRPC."""
    build_house(
        tmp_path,
        {
            "analysis/facts.py": "from router_extproc.dialects import chat",
            "dialects/chat.py": "import router_extproc.request",
            "dialects/openai_models.py": "import router_extproc.registry.snapshot",
            "registry/snapshot.py": "",
            "registry/build.py": "from router_extproc.config import schema",
            "config/schema.py": "import pydantic",
            "extproc/server.py": "import grpc\nfrom router_extproc import router",
            "envoyconf/clusters.py": "from envoy.config.cluster.v3 import cluster_pb2",
            "cli/serve.py": "import router_extproc.extproc.server",
        },
    )
    result = check(tmp_path)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("breach", BREACHES)
def test_a_planted_breach_is_caught(tmp_path: Path, breach: str) -> None:
    """Each way of walking through a wall breaks the contract that guards it."""
    contract, files = BREACHES[breach]
    build_house(tmp_path, files)
    result = check(tmp_path)
    assert result.returncode == 1, result.stdout
    assert contract in broken_contracts(result.stdout)


def test_every_pure_room_is_guarded() -> None:
    """Each room that decides is named by the purity contract as soon as it exists; one that does not cannot be named."""
    contracts = configparser.ConfigParser()
    contracts.read(ROOT / ".importlinter")
    guarded = contracts["importlinter:contract:purity"]["source_modules"].split()
    rooms = [
        "policy",
        "analysis",
        "dialects",
        "limits",
        "router",
        "explaining",
        "request",
        "decision",
        "account",
        "caller",
        "facts",
        "outlook",
    ]
    package = ROOT / "router_extproc"
    present = [room for room in rooms if (package / room).is_dir() or (package / f"{room}.py").exists()]
    assert guarded == [f"router_extproc.{room}" for room in present]
