"""Tenants, keys and budgets that cannot mean what they say: names that lead nowhere, labels that no caller has.

All of these are errors, because each would leave a door open or a budget uncounted without anybody noticing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from router_extproc.config import budgets, tenants
from router_extproc.config.addresses import is_address, is_loopback
from router_extproc.config.deployments import configured_deployments
from router_extproc.config.messages import meant
from router_extproc.config.redaction import shown
from router_extproc.config.schema import RouterConfig
from router_extproc.config.source import Path, Source
from router_extproc.errors import Problem
from router_extproc.request import BY_PATH

_IDENTITY = ("tenant", "team", "key")


def is_served(name: str, names: Collection[str]) -> bool:
    """Whether one of the names is this one, or a pattern that matches it."""
    return name in names or any(known.endswith("*") and name.startswith(known[:-1]) for known in names)


def check_spending(config: RouterConfig, source: Source, models: tuple[str, ...], routes: tuple[str, ...]) -> Iterator[Problem]:
    """Every such mistake; ``models`` and ``routes`` are all names that the file serves."""
    checker = _Checker(config, source, models, routes)
    yield from checker.callers()
    yield from checker.permissions()
    yield from checker.keys()
    yield from checker.budgets()
    yield from checker.reservations()


def all_budgets(config: RouterConfig) -> Iterator[tuple[Path, budgets.Budget]]:
    """Every budget that the file writes, with its place: those of all, then those of single keys."""
    for name, budget in config.budgets.items():
        yield ("budgets", name), budget
    for key, written in config.keys.items():
        for name, budget in written.budgets.items():
            yield ("keys", key, "budgets", name), budget


class _Checker:
    def __init__(self, config: RouterConfig, source: Source, models: tuple[str, ...], routes: tuple[str, ...]) -> None:
        self._config = config
        self._source = source
        # In file order, for messages; a file may have ten thousand tenants, so names are looked up and not searched.
        self._known: dict[str, dict[str, None]] = {
            "tenant": dict.fromkeys(config.tenants),
            "model": dict.fromkeys(models),
            "route": dict.fromkeys((*routes, *models, BY_PATH)),
            "provider": dict.fromkeys(config.providers),
            "deployment": dict.fromkeys(deployment.name for deployment in configured_deployments(config)),
            "region": dict.fromkeys(each.region for each in config.providers.values() if each.region),
        }
        self._tags_of_tenants = {f"tag:{tag}" for tenant in config.tenants.values() for tag in tenant.tags}

    def callers(self) -> Iterator[Problem]:
        """Who may call is written where strangers can, and proofs can be given as they are asked for."""
        auth, listener = self._config.auth, self._config.listener
        if auth.mode is None and not self._config.keys and is_address(listener.address) and not is_loopback(listener.address):
            message = f"{listener.address} can be reached from other machines, and `auth.mode` does not say who may call"
            fix = "write auth: {mode: keys}, or auth: {mode: none} to allow everybody"
            yield self._source.problem(("listener", "address"), message, fix=fix, code="open_listener")
        if auth.mesh is not None:
            if listener.tls is None:
                message = "callers show their certificates over TLS, and the listener has none"
                yield self._source.problem(
                    ("auth", "mesh"), message, fix="add listener.tls: {certificate: …, key: …}", code="contradiction", key=True
                )
            for identity, tenant in auth.mesh.identities.items():
                yield from self._name(("auth", "mesh", "identities", identity), "tenant", tenant)

    def permissions(self) -> Iterator[Problem]:
        """Routes, models and regions that exist."""
        places: list[tuple[Path, tenants.Permissions]] = [
            (("tenants", name, "permissions"), tenant.permissions) for name, tenant in self._config.tenants.items()
        ]
        places += [(("keys", name, "permissions"), key.permissions) for name, key in self._config.keys.items()]
        for path, written in places:
            for what in ("route", "model", "region"):
                for index, name in enumerate(getattr(written, f"{what}s") or ()):
                    yield from self._name((*path, f"{what}s", index), what, name)

    def keys(self) -> Iterator[Problem]:
        """Keys belong to tenants that exist, and each has a digest of its own."""
        seen: dict[str, Path] = {}
        for name, key in self._config.keys.items():
            yield from self._name(("keys", name, "tenant"), "tenant", key.tenant)
            digests: list[tuple[Path, str]] = [] if key.digest is None else [(("keys", name, "digest"), key.digest)]
            digests += [(("keys", name, "digests", index), each.digest) for index, each in enumerate(key.digests)]
            for path, digest in digests:
                first = seen.setdefault(digest, path)
                if first != path:
                    message = f"the same digest as on line {self._source.mark(first).line}: one key cannot be two"
                    yield self._source.problem(path, message, fix="make another key", code="duplicate_digest")

    def budgets(self) -> Iterator[Problem]:
        """Budgets select places that exist, by labels that callers can have."""
        for path, budget in all_budgets(self._config):
            for label, value in budget.match.items():
                yield from self._label((*path, "match", label), label)
                # Tenants may be made at run time, together with their keys: the lints warn of one that nobody wrote.
                if label in self._known and label != "tenant":
                    yield from self._name((*path, "match", label), label, value)
            for index, label in enumerate(budget.per):
                place: Path = (*path, "per", index)
                yield from self._label(place if self._source.find(place) is not None else (*path, "per"), label)

    def reservations(self) -> Iterator[Problem]:
        """What is set aside for a request stays set aside until the request is over."""
        config = self._config
        longest = max((config.defaults.timeouts.deadline, *(r.timeouts.deadline for r in config.routes.values() if r.timeouts)))
        if config.store.reservation < longest:
            message = f"{config.store.reservation / 1000:g}s is below a route's deadline of {longest / 1000:g}s"
            fix = "make it longer: what ends before its request could be spent twice"
            yield self._source.problem(("store", "reservation"), message, fix=fix, code="contradiction")

    def _label(self, path: Path, label: str) -> Iterator[Problem]:
        reason = self._nobody_has(label)
        if reason is not None:
            message = f"no caller has the label `{shown(label)}`: {reason}"
            fix = "leave the label out, or let callers prove it"
            yield self._source.problem(path, message, fix=fix, code="label_without_callers", key=path[-1] == label)

    def _nobody_has(self, label: str) -> str | None:
        """Why no request can carry the label, or None."""
        auth = self._config.auth
        # ``user`` is none of these: any request may name one in its body.
        is_identity = label in _IDENTITY or label.startswith("tag:")
        if auth.trusted or auth.mode in (None, "keys") or not is_identity:
            return None
        if auth.mode == "none":
            return "auth.mode is none, so nobody says who calls"
        if label == "key":
            return f"auth.mode is {auth.mode}, so nobody shows a key"
        claims = None if auth.jwt is None else auth.jwt.claims
        if label == "tenant" or label in self._tags_of_tenants:
            return None
        if claims is None:
            return "a certificate says the tenant, and nothing else"
        told = {"team": claims.team} | {f"tag:{tag}": claim for tag, claim in claims.tags.items()}
        return None if told.get(label) else "auth.jwt.claims names no claim for it"

    def _name(self, path: Path, what: str, name: str) -> Iterator[Problem]:
        """The problem of a name that matches nothing; ``*`` at its end stands for any rest."""
        known = self._known[what]
        is_pattern = name.endswith("*")
        if name in known or is_served(name, known) or (is_pattern and any(each.startswith(name[:-1]) for each in known)):
            return
        alias = self._config.aliases.get(name) if what in ("route", "model") else None
        if alias is not None:
            message, fix = f"`{shown(name)}` is an alias", f"write the name it stands for: `{shown(alias)}`"
        else:
            message = f"there is no {what} named `{shown(name)}`" if not is_pattern else f"`{shown(name)}` matches no {what}"
            fix = meant(name, known, what="there are")
            if what == "tenant" and not known:
                fix = f"write it under `tenants`: {{{shown(name)}: {{}}}}"
        yield self._source.problem(path, message, fix=fix, code="unknown_name")
