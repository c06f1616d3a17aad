"""``router-extproc validate``: everything that is wrong or unwise in a ``router.yaml``."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from router_extproc.analysis.location import artefact_folder
from router_extproc.config.lint import lint
from router_extproc.config.load import Document, load_document
from router_extproc.config.source import in_file_order
from router_extproc.errors import ConfigurationError, Problem
from router_extproc.registry.catalogue import load_catalogue
from router_extproc.registry.compile import compile_registry
from router_extproc.registry.lint import lint_registry

NAME = "validate"
HELP = "check router.yaml, with file, line, key and fix for each problem"
DEFAULT_FILE = "router.yaml"
FINE, FOUND_SOMETHING, WRONG_USE = 0, 1, 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("file", nargs="?", default=DEFAULT_FILE, metavar="FILE", help="default: ./router.yaml")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of lines")
    parser.add_argument("--strict", action="store_true", help="warnings count as errors for the exit code")


def run(arguments: argparse.Namespace) -> int:
    """Prints every problem; 0 when the file can be used, 1 when it cannot, 2 when there is no such file."""
    if not Path(arguments.file).exists():
        print(f"router-extproc validate: there is no file {arguments.file}", file=sys.stderr)
        return WRONG_USE
    problems, facts = examine(arguments.file)
    errors = sum(problem.severity == "error" for problem in problems)
    warnings = len(problems) - errors
    if arguments.json:
        report = {"file": arguments.file, "valid": not errors, "errors": errors, "warnings": warnings, **facts}
        print(json.dumps({**report, "problems": [asdict(problem) for problem in problems]}, indent=2))
    else:
        for problem in problems:
            print(problem)
        print(_summary(arguments.file, errors, warnings, facts))
    return FOUND_SOMETHING if errors or (warnings and arguments.strict) else FINE


def examine(file: str) -> tuple[tuple[Problem, ...], dict[str, object]]:
    """All problems of the file in its order, and what it amounts to when it can be used."""
    try:
        document = load_document(file)
    except ConfigurationError as error:
        return error.problems, {}
    registry = compile_registry(document.config, load_catalogue())
    problems = in_file_order([*lint(document), *lint_registry(document, registry), *_encoder(document)])
    facts: dict[str, object] = {
        "models": len(registry.models),
        "deployments": len(registry.deployments()),
        "routes": len(registry.routes),
        "revision": registry.revision,
        "catalogue": registry.catalogue,
        "default_chain": list(registry.default_chain),
        "auth": registry.spending.auth.mode,
        "keys": len(registry.spending.keys),
        "budgets": len(registry.spending.budgets) + sum(len(key.budgets) for key in registry.spending.keys.values()),
        "refuses_undecided": registry.spending.refuses_undecided,
    }
    return problems, facts


def _encoder(document: Document) -> Iterator[Problem]:
    """An encoder that is not there yet: a worker would then do without its classifier."""
    if document.config.analysis.encoder != "minilm":
        return
    from router_extproc.analysis.encoders.minilm import GRAPH_FILE  # noqa: PLC0415 - loads what hardly anybody needs here

    graph = artefact_folder(os.environ) / GRAPH_FILE
    if not graph.exists():
        message, fix = f"{graph} is missing", "make it once with `router-extproc train --minilm`, or write static"
        path = ("analysis", "encoder")
        yield document.source.problem(path, message, fix=fix, code="missing_encoder", severity="warning")


def _summary(file: str, errors: int, warnings: int, facts: dict[str, object]) -> str:
    found = ", ".join(
        f"{count} {word}{'' if count == 1 else 's'}" for count, word in ((errors, "error"), (warnings, "warning")) if count
    )
    if errors:
        return f"{file}: {found}"
    size = f"{facts['models']} models, {facts['deployments']} deployments, {facts['routes']} routes"
    size += f", auth {facts['auth']}" if facts["auth"] else ""
    size += f", {facts['budgets']} budgets" if facts["budgets"] else ""
    return f"{file}: valid, {size}, revision {facts['revision']}{f'; {found}' if found else ''}"
