"""Names that must point to something, and settings that exclude each other: what the schema alone cannot see.

All of these are errors: a file that has one would not do what it says. What is only unwise is in ``lint.py``.
"""

from __future__ import annotations

from collections.abc import Iterator

from router_extproc.config import schema
from router_extproc.config.addresses import check_addresses
from router_extproc.config.check_spending import check_spending, is_served
from router_extproc.config.deployments import ConfiguredDeployment, configured_deployments
from router_extproc.config.messages import meant
from router_extproc.config.redaction import shown
from router_extproc.config.schema import RouterConfig
from router_extproc.config.source import Path, Source
from router_extproc.config.values import TASKS
from router_extproc.errors import Problem

# Names that every configuration serves, whether the file has them or not.
DEFAULT_ROUTE_NAMES = ("auto", "fast", "cheap", "best")


def check_references(config: RouterConfig, source: Source) -> list[Problem]:
    """Every reference in the file that leads nowhere, and every pair of settings that cannot stand together."""
    checker = _Checker(config, source)
    return [
        *check_addresses(config, source),
        *checker.deployments(),
        *checker.names(),
        *checker.aliases(),
        *checker.plans(),
        *checker.rules(),
        *checker.kinds(),
        *checker.spending(),
    ]


def all_plans(config: RouterConfig) -> Iterator[tuple[Path, schema.Plan]]:
    """Every plan of the file with its place: those of routes, then those of rules."""
    for name, route in config.routes.items():
        yield ("routes", name), route
    for index, rule in enumerate(config.rules):
        yield ("rules", index, "then"), rule.then


def targets_of(plan: schema.Plan, path: Path) -> Iterator[tuple[Path, schema.Target]]:
    """Every target of a plan with its place: its own, the last resort's, those of each cause."""
    chains: dict[Path, tuple[schema.Target, ...]] = {("targets",): plan.targets, ("last_resort",): plan.last_resort}
    chains |= {("after", cause): getattr(plan.after, cause) for cause in type(plan.after).model_fields}
    for where, targets in chains.items():
        for index, target in enumerate(targets):
            yield (*path, *where, index), target


class _Checker:
    """The names of one configuration and the questions asked of them."""

    def __init__(self, config: RouterConfig, source: Source) -> None:
        self._config = config
        self._source = source
        self._deployments = configured_deployments(config)
        self._models = tuple(dict.fromkeys((*config.models, *(deployment.model for deployment in self._deployments))))
        self._routes = tuple(dict.fromkeys((*DEFAULT_ROUTE_NAMES, *config.routes)))

    def deployments(self) -> Iterator[Problem]:
        """Providers that exist, models that are served, deployments with names of their own."""
        providers = self._config.providers
        for model, settings in self._config.models.items():
            for index, deployment in enumerate(settings.deployments):
                if deployment.provider not in providers:
                    path = ("models", model, "deployments", index, "provider")
                    yield self._unknown(path, "provider", deployment.provider, tuple(providers))
                if "*" in (deployment.model or "") and not model.endswith("*"):
                    path = ("models", model, "deployments", index, "model")
                    message = f"`*` stands for what a wildcard matched, and `{shown(model)}` matches nothing but itself"
                    yield self._source.problem(path, message, fix="write the provider's id of the model", code="pattern")
            if not settings.deployments and not any(deployment.model == model for deployment in self._deployments):
                yield self._source.problem(
                    ("models", model),
                    "no deployment serves this model",
                    fix="add deployments: [{provider: …}], or the model to a provider's `models`",
                    code="no_deployment",
                    key=True,
                )
        if not self._deployments and not any(settings.deployments for settings in self._config.models.values()):
            fix = "list models under a provider, for example `models: [gpt-4o-mini]`"
            yield self._source.problem(
                ("providers",) if providers else (), "no provider serves any model", fix=fix, code="no_deployment", key=True
            )
        yield from self._same_names()
        yield from self._same_credentials()

    def _same_names(self) -> Iterator[Problem]:
        seen: dict[str, ConfiguredDeployment] = {}
        for deployment in self._deployments:
            first = seen.setdefault(deployment.name, deployment)
            if first.path != deployment.path:
                marks = {each.path: self._source.mark(each.path) for each in (first, deployment)}
                earlier, later = sorted(marks, key=lambda path: (marks[path].line, marks[path].column))
                message = f"a second deployment named `{shown(deployment.name)}`: the first is on line {marks[earlier].line}"
                yield self._source.problem(later, message, fix="remove one, or give one a `name`", code="duplicate_name")

    def _same_credentials(self) -> Iterator[Problem]:
        for name, provider in self._config.providers.items():
            seen: set[str] = set()
            for index, credential in enumerate(provider.credentials):
                called = credential.name or str(index + 1)
                if called in seen:
                    path = ("providers", name, "credentials", index, "name")
                    message = f"a second credential named `{shown(called)}`"
                    yield self._source.problem(path, message, fix="choose another name", code="duplicate_name")
                seen.add(called)

    def names(self) -> Iterator[Problem]:
        """Models, routes and aliases share the names that clients write."""
        for model in self._models:
            if model in DEFAULT_ROUTE_NAMES:
                where = next(deployment.path for deployment in self._deployments if deployment.model == model)
                message = f"`{model}` is the name of a route that every configuration has"
                yield self._source.problem(where, message, fix="give the model another name", code="name_taken")

    def aliases(self) -> Iterator[Problem]:
        """Aliases lead, over other aliases, to a model or route, and hide none."""
        aliases = self._config.aliases
        for alias, name in aliases.items():
            path = ("aliases", alias)
            if alias in self._models or alias in self._routes:
                kind = "model" if alias in self._models else "route"
                message = f"hides the {kind} of the same name"
                yield self._source.problem(path, message, fix="choose another name", code="name_taken", key=True)
            seen = [alias]
            while name in aliases and name not in seen:
                seen.append(name)
                name = aliases[name]  # noqa: PLW2901 - followed to its end
            if name in aliases:
                message = f"leads in a circle: {' → '.join(shown(each) for each in (*seen, name))}"
                yield self._source.problem(path, message, fix="let one of them name a model or route", code="alias_circle")
            elif not self._serves(name):
                yield self._unknown(path, "model or route", name, (*self._models, *self._routes))

    def plans(self) -> Iterator[Problem]:
        """Targets that exist; named models that stay themselves."""
        for path, plan in all_plans(self._config):
            for where, target in targets_of(plan, path):
                yield from self._target(where, target, may_be_pattern=_is_pattern(path))
        for index, target in enumerate(self._config.default_chain):
            yield from self._target(("default_chain", index), target, may_be_pattern=True)
        for name, route in self._config.routes.items():
            yield from self._route(name, route)

    def _target(self, path: Path, target: schema.Target, *, may_be_pattern: bool) -> Iterator[Problem]:
        if target.model is not None:
            if target.model.endswith("*") and not may_be_pattern:
                message = f"`{shown(target.model)}` stands for many models: a target names one"
                yield self._source.problem(path, message, fix="write the model's full name", code="pattern")
            elif not is_served(target.model, self._models):
                yield self._unknown(path, "model", target.model, self._models)
        elif target.deployment is not None:
            names = tuple(dict.fromkeys(name for each in self._deployments for name in (each.group, each.name)))
            if target.deployment not in names:
                yield self._unknown((*path, "deployment"), "deployment", target.deployment, names)

    def _route(self, name: str, route: schema.Route) -> Iterator[Problem]:
        path = ("routes", name)
        if name in self._models:
            if not route.allow_cross_model:
                for where, target in targets_of(route, path):
                    if (other := self._other_model(name, target)) is not None:
                        yield self._crosses(where, name, other)
        elif route.mode == "passthrough" and not route.targets:
            message = "a passthrough route needs targets: it looks at nothing it could choose by"
            yield self._source.problem(path, message, fix="add targets: [model]", code="missing_key", key=True)
        elif _is_pattern(path) and not route.targets:
            message = "a route for many names needs targets"
            yield self._source.problem(path, message, fix="add targets: [model]", code="missing_key", key=True)

    def rules(self) -> Iterator[Problem]:
        """Rules have names of their own, and apply to routes that exist and may go where they say."""
        seen: set[str] = set()
        for index, rule in enumerate(self._config.rules):
            if rule.name in seen:
                message = f"a second rule named `{shown(rule.name)}`"
                path = ("rules", index, "name")
                yield self._source.problem(path, message, fix="choose another name", code="duplicate_name")
            seen.add(rule.name)
            for place, route in enumerate(rule.when.route):
                yield from self._rule_route(index, place, route)

    def kinds(self) -> Iterator[Problem]:
        """Kinds of work and semantic routes that exist; none of the file's own hides one of ours."""
        analysis = self._config.analysis
        tasks = (*TASKS, *analysis.tasks)
        for name in analysis.tasks:
            if name in TASKS:
                message = f"`{name}` is a task that every configuration has"
                yield self._source.problem(
                    ("analysis", "tasks", name), message, fix="choose another name", code="name_taken", key=True
                )
        for model, settings in self._config.models.items():
            for place, name in enumerate(settings.strengths or ()):
                if name not in tasks:
                    yield self._unknown(("models", model, "strengths", place), "task", name, tasks)
        for index, rule in enumerate(self._config.rules):
            for key, what, names, known in (
                ("task", "task", rule.when.task, tasks),
                ("semantic_route", "semantic route", rule.when.semantic_route, tuple(analysis.semantic_routes)),
            ):
                for place, name in enumerate(names):
                    if name not in known:
                        yield self._unknown(("rules", index, "when", key, place), what, name, known)

    def spending(self) -> Iterator[Problem]:
        """Tenants, keys and budgets."""
        yield from check_spending(self._config, self._source, self._models, self._routes)

    def _rule_route(self, index: int, place: int, route: str) -> Iterator[Problem]:
        path = ("rules", index, "when", "route", place)
        if route in self._config.aliases:
            message = f"`{shown(route)}` is an alias: rules see the name it stands for"
            fix = f"write `{shown(self._config.aliases[route])}`"
            yield self._source.problem(path, message, fix=fix, code="unknown_name")
        elif not route.endswith("*") and not self._serves(route):
            yield self._unknown(path, "route", route, (*self._routes, *self._models))
        own = self._config.routes.get(route)
        if route in self._models and not (own is not None and own.allow_cross_model):
            then: Path = ("rules", index, "then")
            for where, target in targets_of(self._config.rules[index].then, then):
                if (other := self._other_model(route, target)) is not None:
                    yield self._crosses(where, route, other)

    def _other_model(self, model: str, target: schema.Target) -> str | None:
        """What the target may use besides the model, or None."""
        if target.tier is not None:
            return f"the tier {target.tier}"
        if target.deployment is not None:
            served = {each.model for each in self._deployments if target.deployment in (each.group, each.name)}
            others = sorted(served - {model})
            return f"`{shown(others[0])}`" if others else None
        return f"`{shown(str(target.model))}`" if target.model != model else None

    def _crosses(self, path: Path, model: str, other: str) -> Problem:
        message = f"a client who asks for `{shown(model)}` would be answered by {other}"
        fix = f"set routes.{shown(model)}.allow_cross_model: true if that is meant"
        return self._source.problem(path, message, fix=fix, code="cross_model")

    def _serves(self, name: str) -> bool:
        """Whether a client may write the name; a pattern that matches it is enough."""
        return is_served(name, (*self._models, *self._routes))

    def _unknown(self, path: Path, what: str, name: str, known: tuple[str, ...]) -> Problem:
        message = f"there is no {what} named `{shown(name)}`"
        return self._source.problem(path, message, fix=meant(name, known, what="there are"), code="unknown_name")


def _is_pattern(path: Path) -> bool:
    return str(path[1]).endswith("*")
