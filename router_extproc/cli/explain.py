"""``router-extproc explain``: what would happen to one request, and why; nobody is called."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from pathlib import Path

import msgspec
from msgspec.structs import replace

from router_extproc.analysis.classifier import NOTHING_LEARNED, Classifier
from router_extproc.analysis.location import artefact_folder
from router_extproc.cli.explain_instance import InstanceHere
from router_extproc.config.state import StateDirectory, find_instance
from router_extproc.errors import RequestError, StartError
from router_extproc.explaining import Question, explain
from router_extproc.policy.explanation import Explanation, explain_error, explain_request
from router_extproc.registry.health import Health, read_health
from router_extproc.registry.snapshot import Registry, read_registry
from router_extproc.registry.spending import Spending
from router_extproc.request import CHAT_COMPLETIONS, Request
from router_extproc.router import Router, Situation
from router_extproc.store.counters import StoreUnavailableError

NAME = "explain"
HELP = "show how one request would be routed, and why"
DEFAULT_FILE = Path("router.yaml")
FINE, FOUND_SOMETHING, WRONG_USE = 0, 1, 2
_STDIN = "-"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("file", nargs="?", metavar="FILE", help="a request body in JSON; - reads standard input")
    source.add_argument("-m", "--message", metavar="TEXT", help="a chat of this one message")
    parser.add_argument("--model", help="what the request asks for (default: the file's own, auto for a message)")
    parser.add_argument("--path", default=CHAT_COMPLETIONS, help="default: %(default)s")
    parser.add_argument("--header", action="append", default=[], metavar="NAME:VALUE", help="a request header; may be repeated")
    who = parser.add_mutually_exclusive_group()
    who.add_argument("--tenant", help="with whose permissions and budgets (default: nobody's)")
    who.add_argument("--key", metavar="ID", help="the same for a virtual key, by what `keys list` calls it")
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="default: ./router.yaml, else the running instance, else the environment"
    )
    parser.add_argument("--draw", type=int, default=0, help="the seed that orders what has weights (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of tables")


def run(arguments: argparse.Namespace) -> int:
    """Prints the explanation; 0 when the request would be served, 1 when it would be refused, 2 for wrong use."""
    try:
        headers = _headers(arguments.header)
        body = _body(arguments)
    except (OSError, ValueError) as error:
        print(f"router-extproc explain: {error}", file=sys.stderr)
        return WRONG_USE
    router = Router(_registry(arguments.config), _classifier(), time.perf_counter)
    health = _health(arguments.config)
    situation = Situation(health.deployments, arguments.draw, time.time(), health.token_ratios)
    question = Question(arguments.path, headers, body, arguments.tenant, arguments.key)
    explanation = _explain(router, arguments, question, situation)
    if _says_who_would_matter(router.registry.spending, explanation):
        print(
            "router-extproc explain: --tenant or --key says whose permissions and budgets are to be shown; these are nobody's",
            file=sys.stderr,
        )
    refusal = explanation.refusal or (explanation.admission and explanation.admission.refusal)
    if arguments.json:
        print(msgspec.json.format(msgspec.json.encode(explanation)).decode())
    else:
        from router_extproc.cli.explain_table import print_explanation  # noqa: PLC0415 - rich takes longer than deciding

        print_explanation(explanation)
    return FINE if refusal is None else FOUND_SOMETHING


def _explain(router: Router, arguments: argparse.Namespace, question: Question, situation: Situation) -> Explanation:
    from router_extproc.dialects.openai import splice_model  # noqa: PLC0415 - beside its only use

    try:
        if arguments.model is not None:
            question = question._replace(body=splice_model(question.body, arguments.model))
        return asyncio.run(explain(question, router, situation, InstanceHere(_state(arguments.config))))
    except RequestError as error:
        unread = explain_request(Request(arguments.path, arguments.model or "", headers=question.headers))
        return replace(unread, refusal=explain_error(error))
    except StoreUnavailableError as error:
        raise StartError(f"keys cannot be read: {error}") from error


def _says_who_would_matter(spending: Spending, explanation: Explanation) -> bool:
    """Whether an explanation for nobody leaves out what most requests meet."""
    is_for_nobody = explanation.caller is None and explanation.decision is not None
    return is_for_nobody and bool(spending.tenants or spending.keys or spending.auth.mode in ("keys", "jwt", "mesh"))


def _headers(written: list[str]) -> dict[str, str]:
    headers = {"content-type": "application/json"}
    for line in written:
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise ValueError(f"--header {line!r} is not NAME:VALUE")
        headers[name.strip().lower()] = value.strip()
    return headers


def _body(arguments: argparse.Namespace) -> bytes:
    if arguments.message is not None:
        return msgspec.json.encode({"model": "auto", "messages": [{"role": "user", "content": arguments.message}]})
    if arguments.file == _STDIN:
        return sys.stdin.buffer.read()
    return Path(arguments.file).read_bytes()


def _registry(file: Path | None) -> Registry:
    """The configuration to decide by: the file, else what runs here, else the provider keys in the environment."""
    if file is None and DEFAULT_FILE.exists():
        file = DEFAULT_FILE
    if file is not None:
        written = Router.from_file(file, NOTHING_LEARNED).registry
        return _in_force(file) or written
    state = find_instance()
    if state is not None and state.snapshot.exists():
        return read_registry(state.snapshot)
    from router_extproc.config.zero import config_from_environment  # noqa: PLC0415 - YAML and the schema, only if needed
    from router_extproc.registry.catalogue import known_providers, load_catalogue  # noqa: PLC0415 - as above
    from router_extproc.registry.compile import compile_registry  # noqa: PLC0415 - as above

    config = config_from_environment(os.environ, known_providers())
    if config is None:
        raise StartError("no router.yaml here, no running instance and no provider key in the environment: use --config FILE")
    return compile_registry(config, load_catalogue())


def _in_force(file: Path) -> Registry | None:
    """What the instance beside the file has made of it, such as leaving out deployments without a key.

    None when no instance runs there, or the file was written after what the instance applied.
    """
    state = StateDirectory.beside(file)
    try:
        is_news = not state.instance.exists() or file.stat().st_mtime > state.snapshot.stat().st_mtime
        return None if is_news else read_registry(state.snapshot)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def _classifier() -> Classifier:
    """The classifier that a worker would load; where it would have none, nothing is known of any text."""
    try:
        return Classifier.load(artefact_folder(os.environ))
    except (OSError, ValueError) as error:
        print(f"router-extproc explain: no classifier, so auto takes the strongest models: {error}", file=sys.stderr)
        return NOTHING_LEARNED


def _state(file: Path | None) -> StateDirectory | None:
    """Where an instance keeps its files, if one ever did: beside the file, or found from here."""
    return StateDirectory.beside(file) if file is not None else find_instance()


def _health(file: Path | None) -> Health:
    """The health that a running instance sees; without one everything counts as healthy."""
    state = _state(file)
    if state is None or not state.instance.exists():
        return Health()
    try:
        return read_health(state.health)
    except FileNotFoundError:
        return Health()
    except msgspec.DecodeError:
        print(f"router-extproc explain: {state.health} is of another version and was left out", file=sys.stderr)
        return Health()
