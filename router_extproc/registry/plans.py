"""Plans of the file as plans of the registry: targets expanded to names that exist, defaults written out."""

from __future__ import annotations

from collections.abc import Iterable

from router_extproc.config import schema
from router_extproc.config.deployments import ConfiguredDeployment
from router_extproc.registry.models import generates_text, is_wildcard
from router_extproc.registry.snapshot import Model, Plan, Target, Tier


class PlanCompiler:
    """Compiles plans against the models and deployments of one configuration."""

    def __init__(self, models: dict[str, Model], deployments: tuple[ConfiguredDeployment, ...]) -> None:
        self._groups: dict[str, list[str]] = {}
        for deployment in deployments:
            self._groups.setdefault(deployment.group, []).append(deployment.name)
        self._everything = tuple(
            Target(kind="model", name=name) for name, model in models.items() if generates_text(model) and not is_wildcard(name)
        )

    def plan(self, written: schema.Plan, *, strategy: str = "auto") -> Plan:
        """The complete plan. ``strategy`` is used by a plan that names neither targets nor a strategy.

        Without targets every model that generates text is a candidate: an embedding model is none, because these plans
        are what a client gets who leaves the choice to us.
        """
        targets = self._targets(written.targets)
        same_tier = len(written.targets) < 2 if written.same_tier is None else written.same_tier  # noqa: PLR2004 - one target is no fallback
        after = {
            cause: self._targets(getattr(written.after, cause))
            for cause in type(written.after).model_fields
            if getattr(written.after, cause)
        }
        return Plan(
            strategy=written.strategy or ("ordered" if targets else strategy),
            targets=targets or self._everything,
            min_tier=None if written.min_tier is None else Tier[written.min_tier.upper()],
            same_tier=same_tier,
            last_resort=self._targets(written.last_resort),
            after=after,
            min_quality=written.min_quality,
            quality=written.quality,
        )

    def targets(self, written: Iterable[schema.Target]) -> tuple[Target, ...]:
        """The targets alone."""
        return self._targets(written)

    def _targets(self, written: Iterable[schema.Target]) -> tuple[Target, ...]:
        return tuple(target for each in written for target in self._target(each))

    def _target(self, written: schema.Target) -> list[Target]:
        """One target, or one for each key of the deployment it names; they share its weight."""
        if written.model is not None:
            return [Target(kind="model", name=written.model, weight=written.weight)]
        if written.tier is not None:
            return [Target(kind="tier", name=written.tier, weight=written.weight)]
        name = str(written.deployment)
        members = self._groups.get(name, [name])
        share = None if written.weight is None else written.weight / len(members)
        return [Target(kind="deployment", name=member, weight=share) for member in members]
