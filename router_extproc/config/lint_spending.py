"""What a file says about tenants, keys, budgets and stores without effect, too late, or without what it needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from router_extproc.config import budgets
from router_extproc.config.addresses import is_loopback
from router_extproc.config.check_spending import all_budgets
from router_extproc.config.messages import meant
from router_extproc.config.redaction import shown
from router_extproc.config.schema import RouterConfig
from router_extproc.config.secret import Secret
from router_extproc.config.source import Path, Source
from router_extproc.config.surroundings import check_file, check_variable
from router_extproc.config.traffic import Webhook
from router_extproc.errors import Problem

_PLACES = frozenset({"provider", "model", "deployment"})


def lint_spending(config: RouterConfig, source: Source, environ: Mapping[str, str], now: float) -> Iterator[Problem]:
    """Every warning about who may spend what, in no order; ``now`` is in epoch seconds."""
    yield from _callers(config, source)
    yield from _keys(config, source, now)
    for path, budget in all_budgets(config):
        yield from _budget(budget, path, source, now)
    yield from _tenants(config, source)
    yield from _keys_of_budgets(config, source)
    yield from _tags(config, source)
    yield from _doors(config, source)
    yield from _store(config, source)
    yield from _surroundings(config, source, environ)


def _warn(source: Source, path: Path, message: str, fix: str, code: str, *, key: bool = False) -> Problem:
    return source.problem(path, message, fix=fix, code=code, severity="warning", key=key)


def _callers(config: RouterConfig, source: Source) -> Iterator[Problem]:
    """Tenants that nobody can be, or that everybody can."""
    auth = config.auth
    if auth.mode == "none" and not auth.trusted and config.tenants:
        message = "nobody is of any tenant: auth.mode is none"
        yield _warn(
            source, ("tenants",), message, "write another auth.mode, or remove them", "tenants_without_effect", key=True
        )
    if auth.mode == "none" and auth.trusted and not is_loopback(config.listener.address):
        message = "whoever can connect may claim to be of any tenant"
        yield _warn(source, ("auth", "trusted"), message, "let the gateway in front show a key", "trusted_strangers")


def _keys(config: RouterConfig, source: Source, now: float) -> Iterator[Problem]:
    """Keys that nobody can use any more, or that nobody is asked for."""
    if config.keys and config.auth.mode not in (None, "keys"):
        message = f"never asked for: auth.mode is {config.auth.mode}"
        yield _warn(source, ("keys",), message, "write auth: {mode: keys}, or remove them", "keys_without_effect", key=True)
    for name, key in config.keys.items():
        path: Path = ("keys", name)
        if key.expires is not None and key.expires <= now:
            yield _warn(
                source, (*path, "expires"), "the key has expired", "remove the key, or give it more time", "expired_key"
            )
        for index, digest in enumerate(key.digests):
            if digest.until is not None and digest.until <= now:
                where = (*path, "digests", index, "until")
                yield _warn(source, where, "this digest has expired", "remove it", "expired_key")


def _budget(budget: budgets.Budget, path: Path, source: Source, now: float) -> Iterator[Problem]:
    """Settings of a budget that change nothing."""
    labels = {*budget.match, *budget.per}
    written = budget.model_fields_set
    if budget.unit == "iterations" and "session" not in labels:
        message = "counts the requests of all sessions together"
        yield _warn(source, (*path, "iterations"), message, "add per: session", "iterations_without_session", key=True)
    if "user" in budget.per and "window" in written and budget.window.is_forever:
        message = "kept for ever, for each name: an application may send any as its user"
        yield _warn(source, (*path, "window"), message, "write a time, as in {rolling: 90d}", "kept_forever", key=True)
    if "local_share" in written and budget.on_store_failure != "local_share":
        message = f"has no effect: on_store_failure is {budget.on_store_failure}"
        fix = "write on_store_failure: local_share, or remove it"
        yield _warn(source, (*path, "local_share"), message, fix, "share_without_effect")
    if budget.assume_max_output_tokens is not None and budget.unit not in ("usd", "tokens"):
        message = f"has no effect: {budget.unit} do not depend on how long an answer is"
        yield _warn(source, (*path, "assume_max_output_tokens"), message, "remove it", "estimate_without_effect")
    if budget.downgrade_at not in (None, 1) and budget.unit not in ("usd", "tokens"):
        message = f"has no effect: {budget.unit} are as many, whichever tier answers"
        yield _warn(source, (*path, "downgrade_at"), message, "remove it", "downgrade_without_effect")
    elif budget.downgrade_at is not None and not _PLACES.isdisjoint(labels):
        message = "has no effect: a budget on providers, models or deployments closes these, and requests go elsewhere"
        yield _warn(source, (*path, "downgrade_at"), message, "remove it", "downgrade_without_effect")
    for index, raised in enumerate(budget.raises):
        if raised.until <= now:
            where = (*path, "raises", index, "until")
            yield _warn(source, where, "this raise is over", "remove it", "expired_raise")


def _tenants(config: RouterConfig, source: Source) -> Iterator[Problem]:
    """Budgets for a tenant that the file does not know, where it knows others: perhaps it is misspelt."""
    if not config.tenants:
        return
    for path, budget in all_budgets(config):
        name = budget.match.get("tenant", "*")
        if name not in config.tenants and not name.endswith("*"):
            message = f"no tenant of this file is named `{shown(name)}`: only keys made for it at run time count here"
            fix = meant(name, config.tenants, what="there are")
            yield _warn(source, (*path, "match", "tenant"), message, fix, "unknown_tenant")


def _keys_of_budgets(config: RouterConfig, source: Source) -> Iterator[Problem]:
    """Budgets for a key that the file does not know, where it knows others: perhaps it is misspelt."""
    for name, budget in config.budgets.items():
        key = budget.match.get("key", "*")
        if config.keys and key not in config.keys and not key.endswith("*"):
            message = f"no key of this file is called `{shown(key)}`: only one made at run time counts here"
            fix = meant(key, config.keys, what="there are")
            yield _warn(source, ("budgets", name, "match", "key"), message, fix, "unknown_key_id")


def _tags(config: RouterConfig, source: Source) -> Iterator[Problem]:
    """Tags that neither a tenant, nor a key, nor a token of this file has."""
    owners = [tenant.tags for tenant in config.tenants.values()] + [key.tags for key in config.keys.values()]
    if config.auth.jwt is not None:
        owners.append(config.auth.jwt.claims.tags)
    told = {f"tag:{tag}" for tags in owners for tag in tags}
    for path, budget in all_budgets(config):
        for label in (*budget.match, *budget.per):
            if label.startswith("tag:") and label not in told and not config.auth.trusted:
                key = "match" if label in budget.match else "per"
                message = f"no tenant and no key of this file has the tag `{shown(label.removeprefix('tag:'))}`"
                fix = "give it to a tenant or key, here or when a key is made"
                yield _warn(source, (*path, key), message, fix, "unknown_tag", key=True)


def _doors(config: RouterConfig, source: Source) -> Iterator[Problem]:
    """Where what is enforced can be walked around, and what is written for a chain that is never used."""
    enforced = next((path for path, budget in all_budgets(config) if budget.mode == "enforce"), None)
    is_guarded = config.auth.mode not in (None, "none") or bool(config.keys) or enforced is not None
    if is_guarded and config.defaults.on_router_failure == "allow":
        message = "without a worker everybody is served, whatever auth and budgets say"
        fix = "write it at those routes alone that need it"
        yield _warn(source, ("defaults", "on_router_failure"), message, fix, "open_door")
    jwt = config.auth.jwt
    if jwt is not None and not jwt.audiences:
        message = "without `audiences` the tokens that the issuer made for other services are accepted too"
        yield _warn(source, ("auth", "jwt"), message, "name this service's audience", "any_audience", key=True)
    if jwt is not None and jwt.jwks_uri is not None and _is_plain(jwt.jwks_uri):
        message = "who can change what travels there can sign tokens"
        yield _warn(source, ("auth", "jwt", "jwks_uri"), message, "use https://, or jwks_file", "plain_key")


def _store(config: RouterConfig, source: Source) -> Iterator[Problem]:
    redis = config.store.redis
    if redis is None:
        return
    key = "url" if redis.url is not None else "cluster" if redis.cluster else "sentinel"
    path: Path = ("store", "redis", key)
    passwords = (redis.password, None if redis.sentinel is None else redis.sentinel.password)
    if passwords != (None, None) and any(_is_plain(url) for url in redis.urls):
        yield _warn(source, path, "the password travels unencrypted", "use rediss://", "plain_key", key=True)
    if redis.certificate_authority is not None and not any(url.startswith("rediss:") for url in redis.urls):
        message = "has no effect: Redis is spoken to without TLS"
        yield _warn(source, ("store", "redis", "certificate_authority"), message, "use rediss://", "certificate_without_effect")


def _is_plain(address: str) -> bool:
    """Whether the address is spoken to unencrypted, beyond this machine."""
    parts = urlsplit(address)
    host = parts.hostname or ""
    return parts.scheme in ("http", "redis") and host != "localhost" and not is_loopback(host)


def _surroundings(config: RouterConfig, source: Source, environ: Mapping[str, str]) -> Iterator[Problem]:
    """Files and variables that are named and not there."""
    redis, jwt, mesh = config.store.redis, config.auth.jwt, config.auth.mesh
    secrets: dict[Path, tuple[Secret | Webhook | None, str]] = {
        ("admin", "token"): (config.admin.token, "the token"),
        ("alerts", "webhook"): (config.alerts.webhook, "the address"),
        ("store", "redis", "password"): (None if redis is None else redis.password, "the password"),
    }
    if redis is not None and redis.sentinel is not None:
        secrets["store", "redis", "sentinel", "password"] = (redis.sentinel.password, "the password")
    for path, (secret, what) in secrets.items():
        if secret is not None and secret.env is not None and (finding := check_variable(secret.env, environ, what)):
            yield _warn(source, (*path, "env"), *finding, "missing_secret")
        if secret is not None and secret.file is not None and (finding := check_file(secret.file, what)):
            yield _warn(source, (*path, "file"), *finding, "missing_secret")
    files: dict[Path, tuple[str | None, str]] = {
        ("auth", "jwt", "jwks_file"): (None if jwt is None else jwt.jwks_file, "public keys"),
        ("auth", "mesh", "certificate_authority"): (None if mesh is None else mesh.certificate_authority, "a certificate"),
    }
    if redis is not None:
        at: Path = ("store", "redis")
        files |= {
            (*at, "certificate_authority"): (redis.certificate_authority, "a certificate"),
            (*at, "certificate"): (redis.certificate, "a certificate"),
            (*at, "key"): (redis.key, "a private key"),
        }
    for path, (file, what) in files.items():
        if file is not None and (finding := check_file(file, what)):
            yield _warn(source, path, *finding, "missing_certificate" if "certificate" in what else "missing_file")
