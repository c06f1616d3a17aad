"""What a configuration means once its models are known: routes nobody can serve well, models that lack a price.

All of these are warnings: the file does what it says, but perhaps not what its writer hopes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from router_extproc.config import schema
from router_extproc.config.deployments import configured_deployments
from router_extproc.config.load import Document
from router_extproc.config.redaction import shown
from router_extproc.config.source import Path, in_file_order
from router_extproc.errors import Problem
from router_extproc.registry.lint_spending import lint_spending
from router_extproc.registry.models import generates_text, is_wildcard
from router_extproc.registry.snapshot import Condition, Deployment, Model, Plan, Registry, Target, Tier
from router_extproc.request import TOOLS, VISION

WARNING = "warning"


def lint_registry(document: Document, registry: Registry) -> tuple[Problem, ...]:
    """Every warning about what the compiled configuration means, in file order."""
    return in_file_order(list(_Linter(document, registry).all()))


class _Linter:
    """One configuration, as written and as compiled."""

    def __init__(self, document: Document, registry: Registry) -> None:
        self._config = document.config
        self._source = document.source
        self._registry = registry
        self._models = registry.models
        self._by_name = {deployment.name: deployment for deployment in registry.deployments()}

    def all(self) -> Iterator[Problem]:
        """Every warning, in no order."""
        yield from self._providers()
        yield from self._facts()
        for name in registry_routes(self._config):
            yield from self._plan(("routes", name), self._registry.routes[name].plan, self._config.routes.get(name))
        compiled = {rule.name: rule for rule in self._registry.rules}
        for index, rule in enumerate(self._config.rules):
            path: Path = ("rules", index, "then")
            yield from self._plan(path, compiled[rule.name].plan, rule.then)
            yield from self._abilities(path, compiled[rule.name].when, compiled[rule.name].plan)
        yield from self._default_chain()
        yield from lint_spending(self._config, self._source, self._registry)

    def _warn(self, path: Path, message: str, fix: str, code: str, *, key: bool = True) -> Problem:
        return self._source.problem(path, message, fix=fix, code=code, severity=WARNING, key=key)

    def _providers(self) -> Iterator[Problem]:
        used = {deployment.provider for deployment in self._by_name.values()}
        for name in self._config.providers:
            if name not in used:
                path = ("providers", name)
                yield self._warn(path, "no model uses this provider", "list some under its `models`", "unused_provider")

    def _facts(self) -> Iterator[Problem]:
        """Models about which neither the file nor the catalogue says enough."""
        places = {each.model: each.path for each in reversed(configured_deployments(self._config))}
        for name, model in self._models.items():
            path: Path = ("models", name) if name in self._config.models else places[name]
            here = f"models.{shown(name)}"
            if model.context_window is not None and (model.output_limit or 0) > model.context_window:
                message = f"output_limit {model.output_limit} is above the context window of {model.context_window}"
                yield self._warn(path, message, "exchange them?", "contradiction")
            if is_wildcard(name):
                continue
            if model.prices is None:
                message = f"no price is known for `{shown(name)}`: `cheap` tries it last, and its cost is not reported"
                yield self._warn(path, message, f"write {here}.prices", "unpriced_model")
            if model.capabilities is None:
                message = f"what `{shown(name)}` can do is not known: requests with images or tools may be sent to it"
                yield self._warn(path, message, f"write {here}.capabilities", "unknown_capabilities")
            if model.context_window is None and generates_text(model):
                message = f"the context window of `{shown(name)}` is not known: prompts too long for it may be sent to it"
                yield self._warn(path, message, f"write {here}.context_window", "unknown_context_window")

    def _plan(self, path: Path, plan: Plan, written: schema.Plan | None) -> Iterator[Problem]:
        """A plan that cannot work, or has nothing to fall back to."""
        yield from self._tier_targets(path, plan)
        everything = [*plan.targets, *plan.last_resort]
        reachable = self._reachable(plan)
        floors = list(self._unreachable_floors(path, plan))
        yield from floors
        if not reachable and not floors:
            message = "no model serves this"
            yield self._warn(path, message, "add a model that generates text", "no_capable_model")
        elif len(reachable) == 1 and not floors:
            only = shown(next(iter(reachable)))
            message = f"a chain of one: when `{only}` fails there is nowhere else to go"
            yield self._warn(path, message, "add a second key, deployment or model", "chain_of_one")
        for index, target in enumerate(() if written is None else written.targets):
            model = self._models.get(target.model or "")
            below = None if model is None else _below(plan, model)
            if model is not None and below is not None and len(everything) > 1:
                message, fix = f"never used: `{shown(model.name)}` is {below[1]}", f"remove it, or lower {below[0]}"
                yield self._warn((*path, "targets", index), message, fix, "unused_target", key=False)
        yield from self._longer_context(path, plan)
        yield from self._regions(path, plan)

    def _unreachable_floors(self, path: Path, plan: Plan) -> Iterator[Problem]:
        """Floors that every request fails at, the tier's first: below it nobody looks at quality."""
        strong = [model for model in self._candidates(plan) if plan.min_tier is None or model.tier >= plan.min_tier]
        if plan.min_tier is not None and not strong:
            message = f"no model of this plan reaches the tier {plan.min_tier.label}: every request is answered 503"
            fix = "add a stronger model, or lower it"
            yield self._warn((*path, "min_tier"), message, fix, "unreachable_min_tier", key=False)
        elif plan.min_quality is not None and not any(map(plan.is_strong_enough, strong)):
            message = f"no model of this plan reaches the quality {plan.min_quality:g}: every request is answered 503"
            fix = "add a better model, write the `quality` of those you have, or lower it"
            yield self._warn((*path, "min_quality"), message, fix, "unreachable_min_quality", key=False)

    def _tier_targets(self, path: Path, plan: Plan) -> Iterator[Problem]:
        written = {"targets": plan.targets, "last_resort": plan.last_resort}
        for key, targets in written.items():
            for target in targets:
                if target.kind == "tier" and not self._tier(Tier[target.name.upper()]):
                    message = f"no model is of the tier {target.name}"
                    fix = "give a model this tier under `models`"
                    yield self._warn((*path, key), message, fix, "empty_tier")

    def _longer_context(self, path: Path, plan: Plan) -> Iterator[Problem]:
        """A chain for prompts that were too long must lead to a longer window."""
        targets = plan.after.get("context_length", ())
        before = [model.context_window for target in plan.targets for model in self._target(target)]
        after = [model.context_window for target in targets for model in self._target(target)]
        known_before = [window for window in before if window is not None]
        known_after = [window for window in after if window is not None]
        if targets and known_before and len(known_after) == len(after) and max(known_after, default=0) <= min(known_before):
            message = f"no model here has a context window above {min(known_before)} tokens: the prompt fails again"
            yield self._warn((*path, "after", "context_length"), message, "name a model with a longer one", "no_longer_context")

    def _abilities(self, path: Path, when: Condition, plan: Plan) -> Iterator[Problem]:
        """A rule that selects requests which none of its models can serve."""
        candidates = self._candidates(plan)
        for asked, ability, what in ((when.images, VISION, "images"), (when.tools, TOOLS, "tools")):
            if (
                asked
                and candidates
                and all(model.capabilities is not None and ability not in model.capabilities for model in candidates)
            ):
                message = f"the rule selects requests with {what}, and no model it names can handle them"
                yield self._warn(path, message, f"add a model with the capability {ability}", "no_capable_model")
        longest = max((model.context_window or sys.maxsize for model in candidates), default=sys.maxsize)
        if when.prompt_tokens is not None and (when.prompt_tokens.at_least or 0) > longest:
            message = f"the rule selects prompts above {longest} tokens, and no model it names has such a context window"
            yield self._warn(path, message, "add a model with a longer context window", "no_capable_model")
        reachable = self._reachable(plan).values()
        if when.path is not None and reachable and not any(_serves(each, when.path) for each in reachable):
            message = f"no deployment it names serves the path {shown(when.path)}"
            yield self._warn(path, message, "name another model, or add the path to its provider's `paths`", "no_capable_model")

    def _regions(self, path: Path, plan: Plan) -> Iterator[Problem]:
        """Regions that a client may ask for and the plan cannot serve."""
        here = {deployment.region for deployment in self._reachable(plan).values()}
        missing = {deployment.region for deployment in self._by_name.values()} - here - {None}
        if here - {None}:
            for region in sorted(str(region) for region in missing):
                message = f"no deployment in the region {region}: requests that ask for it are answered 400"
                yield self._warn(path, message, f"add a model of a provider in {region}", "region_hole")

    def _default_chain(self) -> Iterator[Problem]:
        path: Path = ("default_chain",) if self._config.default_chain else ("routes", "auto")
        chain = self._registry.default_chain
        plan = self._registry.routes["auto"].plan
        if not chain:
            message = "Envoy has no default chain: when no worker can decide, it answers 503"
            yield self._warn(path, message, "write default_chain: [model]", "no_default_chain")
        for name in chain:
            deployment = self._by_name[name]
            below = _below(plan, self._models[deployment.model], "auto's ")
            if below is not None:
                message = f"`{shown(name)}` is {below[1]}"
                yield self._warn(path, message, "name stronger models only", "weak_default_chain")
            if is_wildcard(deployment.provider_model) and self._config.default_chain:
                message = f"`{shown(name)}` serves many models: without a worker nobody can say which was meant"
                yield self._warn(path, message, "name a model without *", "wildcard_default_chain")

    def _tier(self, tier: Tier) -> list[Model]:
        return [
            model
            for name, model in self._models.items()
            if model.tier == tier and generates_text(model) and not is_wildcard(name)
        ]

    def _target(self, target: Target) -> list[Model]:
        if target.kind == "tier":
            return self._tier(Tier[target.name.upper()])
        if target.kind == "deployment":
            return [self._models[self._by_name[target.name].model]]
        if target.name in self._models:
            return [self._models[target.name]]
        matching = [name for name in self._models if is_wildcard(name) and target.name.startswith(name[:-1])]
        return [self._models[max(matching, key=len)]]

    def _candidates(self, plan: Plan) -> list[Model]:
        return [model for target in (*plan.targets, *plan.last_resort) for model in self._target(target)]

    def _reachable(self, plan: Plan) -> dict[str, Deployment]:
        """Every deployment that an attempt of the plan could use."""
        found: dict[str, Deployment] = {}
        targets = [*plan.targets, *plan.last_resort, *(target for chain in plan.after.values() for target in chain)]
        if plan.same_tier:
            tiers = {model.tier for target in plan.targets for model in self._target(target)}
            targets += [Target(kind="tier", name=tier.label) for tier in tiers]
        for target in targets:
            if target.kind == "deployment":
                found[target.name] = self._by_name[target.name]
            else:
                found |= {each.name: each for model in self._target(target) for each in model.deployments}
        return {name: deployment for name, deployment in found.items() if plan.is_strong_enough(self._models[deployment.model])}


def registry_routes(config: schema.RouterConfig) -> tuple[str, ...]:
    """The routes worth judging: ``auto``, and those that the file writes."""
    return tuple(dict.fromkeys(("auto", *config.routes)))


def _below(plan: Plan, model: Model, whose: str = "") -> tuple[str, str] | None:
    """The key of the plan's floor that a model is under, and that in words; None when it is under neither."""
    if plan.min_tier is not None and model.tier < plan.min_tier:
        return "min_tier", f"{model.tier.label}, below {whose}min_tier {plan.min_tier.label}"
    if plan.min_quality is not None and model.quality < plan.min_quality:
        return "min_quality", f"of quality {model.quality:g}, below {whose}min_quality {plan.min_quality:g}"
    return None


def _serves(deployment: Deployment, path: str) -> bool:
    plain = path.removesuffix("*")
    return any(plain.startswith(served.removesuffix("*")) or served.startswith(plain) for served in deployment.paths)
