"""What a file says without effect, or what it needs and does not find: warnings, since such a file can still serve.

These look at the file and its surroundings (key files, environment). What can only be judged with the models known is
in ``registry/lint.py``.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from router_extproc.config import schema
from router_extproc.config.addresses import is_loopback
from router_extproc.config.conditions import covers, is_unconditional
from router_extproc.config.lint_analysis import lint_analysis
from router_extproc.config.lint_spending import lint_spending
from router_extproc.config.load import Document
from router_extproc.config.redaction import shown
from router_extproc.config.references import all_plans
from router_extproc.config.schema import RouterConfig
from router_extproc.config.source import Path, Source, in_file_order
from router_extproc.config.surroundings import check_file, check_variable
from router_extproc.errors import Problem

WARNING = "warning"


def lint(document: Document, environ: Mapping[str, str] = os.environ, now: float | None = None) -> tuple[Problem, ...]:
    """Every warning about the file, in file order. Reads the key and certificate files that it names.

    ``now`` (epoch seconds, by default the machine's clock) tells what has expired.
    """
    config, source = document.config, document.source
    found = [
        *_rules(config, source),
        *_surroundings(config, source, environ),
        *_exposed(config, source),
        *_timeouts(config, source),
        *_weights(config, source),
        *_attempts(config, source),
        *lint_analysis(config, source),
        *lint_spending(config, source, environ, time.time() if now is None else now),
    ]
    return in_file_order(found)


def _warn(source: Source, path: Path, message: str, fix: str, code: str, *, key: bool = False) -> Problem:
    return source.problem(path, message, fix=fix, code=code, severity=WARNING, key=key)


def _rules(config: RouterConfig, source: Source) -> Iterator[Problem]:
    """Rules that no request ever reaches."""
    for index, rule in enumerate(config.rules):
        path = ("rules", index, "name")
        earlier = next((other for other in enumerate(config.rules[:index]) if covers(other[1].when, rule.when)), None)
        routes = rule.when.route or ("auto",)
        silent = [name for name in routes if (route := config.routes.get(name)) and route.mode == "passthrough"]
        if earlier is not None:
            place, other = earlier
            line = source.mark(("rules", place, "name")).line
            name = f"`{shown(other.name)}` on line {line}"
            if is_unconditional(other.when):
                message, code = f"never reached: the rule {name} takes every request of its routes", "dead_rule"
            else:
                message, code = f"never reached: the rule {name} takes every request that this one would", "shadowed_rule"
            yield _warn(source, path, message, "move it up, or make the earlier rule narrower", code)
        elif len(silent) == len(routes):
            message = f"never applies: the route `{shown(silent[0])}` is passthrough, which looks at no rules"
            yield _warn(source, path, message, "remove the rule, or the route's mode", "dead_rule")


def _surroundings(config: RouterConfig, source: Source, environ: Mapping[str, str]) -> Iterator[Problem]:
    """Files and variables that are named and not there."""
    for name, provider in config.providers.items():
        for index, credential in enumerate(provider.credentials):
            path: Path = ("providers", name, "credentials", index)
            if credential.env is not None and (finding := check_variable(credential.env, environ)):
                yield _warn(source, (*path, "env"), *finding, "missing_key_variable")
            if credential.file is not None and (finding := check_file(credential.file, "a key")):
                yield _warn(source, (*path, "file"), *finding, "missing_key_file")
        if provider.certificate_authority and (finding := check_file(provider.certificate_authority, "a certificate")):
            yield _warn(source, ("providers", name, "certificate_authority"), *finding, "missing_certificate")
    if config.listener.tls is not None:
        for key, what in (("certificate", "a certificate"), ("key", "a private key")):
            if finding := check_file(getattr(config.listener.tls, key), what):
                yield _warn(source, ("listener", "tls", key), *finding, "missing_certificate")


def _exposed(config: RouterConfig, source: Source) -> Iterator[Problem]:
    """Addresses that give more away than a reader of the file would expect, or are probably not what was meant."""
    if not is_loopback(config.envoy.admin_address):
        message = "whoever can connect here can stop Envoy"
        yield _warn(source, ("envoy", "admin_address"), message, "use 127.0.0.1", "exposed_admin")
    for name, provider in config.providers.items():
        path = ("providers", name, "base_url")
        parts = urlsplit(provider.base_url)
        if parts.scheme == "http" and provider.credentials and parts.hostname and not _is_local(parts.hostname):
            yield _warn(source, path, "the key travels unencrypted", "use https://", "plain_key")
        ending = next(
            (end for end in ("/chat/completions", "/completions", "/embeddings") if parts.path.rstrip("/").endswith(end)), None
        )
        if ending:
            yield _warn(source, path, f"{ending} is added by the router", f"remove {ending}", "base_url_with_path")


def _is_local(host: str) -> bool:
    return host == "localhost" or is_loopback(host)


def _timeouts(config: RouterConfig, source: Source) -> Iterator[Problem]:
    """Timeouts that another one always beats; looked at where they are written."""
    places: list[tuple[Path, schema.Timeouts | None]] = [(("defaults", "timeouts"), config.defaults.timeouts)]
    places += [(("routes", name, "timeouts"), route.timeouts) for name, route in config.routes.items()]
    for path, written in places:
        if written is None or source.find(path) is None:
            continue
        defaults = config.defaults.timeouts
        deadline = written.deadline if "deadline" in written.model_fields_set else defaults.deadline
        for key in ("attempt", "first_token"):
            limit = getattr(written, key)
            if limit is not None and limit > deadline:
                message = f"{_seconds(limit)} is above the deadline of {_seconds(deadline)}, which ends every attempt before"
                yield _warn(source, (*path, key), message, "lower it, or raise `deadline`", "timeout_without_effect")


def _seconds(milliseconds: int) -> str:
    return f"{milliseconds / 1000:g}s"


def _weights(config: RouterConfig, source: Source) -> Iterator[Problem]:
    """Weights that nothing is weighed against."""
    for name, provider in config.providers.items():
        yield from _lonely(source, ("providers", name, "credentials"), len(provider.credentials), "key")
    for name, model in config.models.items():
        others = sum(name in provider.models for provider in config.providers.values())
        yield from _lonely(source, ("models", name, "deployments"), len(model.deployments) + others, "deployment")
    for path, plan in all_plans(config):
        weighted = [index for index, target in enumerate(plan.targets) if target.weight is not None]
        where: Path = (*path, "targets")
        if weighted and plan.strategy not in (None, "ordered"):
            message = f"has no effect: the strategy {plan.strategy} decides the order"
            yield _warn(source, (*where, weighted[0], "weight"), message, "remove it, or the strategy", "weight_without_effect")
        elif weighted and len(plan.targets) == 1:
            yield from _lonely(source, where, 1, "target")
        elif weighted and len(weighted) < len(plan.targets):
            index = next(index for index in range(len(plan.targets)) if index not in weighted)
            message = "has no weight, though its neighbours have: it is tried after them"
            yield _warn(source, (*where, index), message, "give every target a weight, or none", "weight_missing")


def _lonely(source: Source, path: Path, count: int, what: str) -> Iterator[Problem]:
    written: Path = (*path, 0, "weight")
    if count == 1 and source.find(written) is not None:
        yield _warn(source, written, f"has no effect: there is only one {what}", "remove it", "weight_without_effect")


def _attempts(config: RouterConfig, source: Source) -> Iterator[Problem]:
    """Fallbacks that a limit of one attempt never lets happen, and permissions that nothing asks for."""
    models = {*config.models, *(model for provider in config.providers.values() for model in provider.models)}
    for name, route in config.routes.items():
        if route.allow_cross_model and name not in models:
            message = "has no effect: the route is not named like a model"
            path = ("routes", name, "allow_cross_model")
            yield _warn(source, path, message, "remove it", "permission_without_effect")
        retry = route.retry or config.defaults.retry
        if retry.max_attempts > 1:
            continue
        after = any(getattr(route.after, cause) for cause in type(route.after).model_fields)
        key = "last_resort" if route.last_resort else "after" if after else None
        if key is not None:
            message = "never used: the route makes one attempt"
            yield _warn(source, ("routes", name, key), message, "raise retry.max_attempts", "fallback_without_effect", key=True)
