"""Plans with their targets looked up: what may be chosen from, before anything is known about a request."""

from __future__ import annotations

from typing import NamedTuple

from router_extproc.decision import Attempt
from router_extproc.policy.naming import longest_match
from router_extproc.registry.snapshot import Deployment, Model, Plan, Registry, Route, Target


class Choice(NamedTuple):
    """A model as a plan may use it: by this name, over these deployments.

    ``matched`` is what the ``*`` of a wildcard model stands for, None for a model with a name of its own.
    """

    model: Model
    name: str
    matched: str | None
    deployments: tuple[Deployment, ...]


class Option(NamedTuple):
    """One deployment of one choice."""

    choice: Choice
    deployment: Deployment

    def attempt(self, level: str) -> Attempt:
        """The option as a place to try, with the provider's own model id filled in."""
        deployment, choice = self.deployment, self.choice
        provider_model = deployment.provider_model
        if choice.matched is not None:
            provider_model = provider_model.replace("*", choice.matched)
        return Attempt(deployment.name, choice.name, provider_model, choice.model.tier.label, level)


class Group(NamedTuple):
    """What one target stands for. With a weight, its place in the order is drawn."""

    weight: float | None
    choices: tuple[Choice, ...]


class Menu(NamedTuple):
    """A plan with everything looked up."""

    plan: Plan
    targets: tuple[Group, ...]
    same_tier: tuple[Choice, ...]
    last_resort: tuple[Group, ...]
    after: dict[str, tuple[Group, ...]]

    def choices(self) -> tuple[Choice, ...]:
        """Everything the plan could use, causes' chains apart."""
        groups = (*self.targets, Group(None, self.same_tier), *self.last_resort)
        return tuple(choice for group in groups for choice in group.choices)


def make_menu(plan: Plan, route: Route, registry: Registry, matched: str | None = None) -> Menu:
    """Looks up a plan's targets for a route.

    A route named like a model is held to that model here, whatever the plan says, unless it allows others.
    """
    held_to = None if route.allow_cross_model else route.named_model
    lookup = _Lookup(registry, held_to, matched)
    named = (Target("model", route.named_model),) if route.named_model is not None else ()
    targets = lookup.groups(plan.targets or named)
    if held_to is not None and not targets:
        targets = lookup.groups(named)
    if not plan.targets and not named:
        targets = (Group(None, lookup.every()),)
    same_tier = () if held_to is not None or not plan.same_tier else lookup.same_tier(targets)
    return Menu(
        plan,
        targets,
        same_tier,
        lookup.groups(plan.last_resort),
        {cause: groups for cause, chain in plan.after.items() if (groups := lookup.groups(chain))},
    )


class _Lookup:
    def __init__(self, registry: Registry, held_to: str | None, matched: str | None) -> None:
        self._registry, self._held_to, self._matched = registry, held_to, matched

    def groups(self, targets: tuple[Target, ...]) -> tuple[Group, ...]:
        found = (Group(target.weight, self._choices(target)) for target in targets)
        return tuple(group for group in found if group.choices)

    def every(self) -> tuple[Choice, ...]:
        named = (model for model in self._registry.models.values() if not _is_wildcard(model))
        return tuple(choice for model in named for choice in self._choice(model, model.name))

    def same_tier(self, targets: tuple[Group, ...]) -> tuple[Choice, ...]:
        used = [choice.model for group in targets for choice in group.choices]
        names, tiers = {model.name for model in used}, dict.fromkeys(model.tier for model in used)
        every = self.every()
        return tuple(
            choice
            for tier in tiers
            for choice in every
            if choice.model.tier is tier and choice.model.name not in names and not _is_wildcard(choice.model)
        )

    def _choices(self, target: Target) -> tuple[Choice, ...]:
        models = self._registry.models
        if target.kind == "tier":
            of_tier = (model for model in models.values() if model.tier.label == target.name and not _is_wildcard(model))
            found = (self._choice(model, model.name) for model in of_tier)
            return tuple(choice for choices in found for choice in choices)
        if target.kind == "deployment":
            owners = (model for model in models.values() if any(one.name == target.name for one in model.deployments))
            return tuple(choice for model in owners for choice in self._choice(model, model.name, only=target.name))
        model = models.get(target.name)
        if model is not None:
            return self._choice(model, model.name)
        pattern = longest_match(target.name, models)
        return () if pattern is None else self._choice(models[pattern], target.name)

    def _choice(self, model: Model, name: str, only: str | None = None) -> tuple[Choice, ...]:
        """The model as one choice, or nothing when it may not or cannot be used here."""
        if self._held_to is not None and model.name != self._held_to:
            return ()
        matched = None
        if _is_wildcard(model):
            matched = self._matched if name.endswith("*") else name[len(model.name) - 1 :]
            name = model.name[:-1] + matched if matched is not None else name
        deployments = tuple(
            one
            for one in model.deployments
            if (only is None or one.name == only) and (matched is not None or "*" not in one.provider_model)
        )
        return (Choice(model, name, matched, deployments),) if deployments else ()


def _is_wildcard(model: Model) -> bool:
    """Whether the model stands for many names: a tier cannot mean it, because nobody has said which."""
    return model.name.endswith("*")
