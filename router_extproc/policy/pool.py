"""What may serve one request: every candidate passes here once, whichever list named it, and leaves its reason if it fell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from router_extproc.policy.auto import Wish
from router_extproc.policy.capability import Demand, Rejection, Stage, usable_deployments, why_deployment_not
from router_extproc.policy.choice import Choice, Group, Option
from router_extproc.policy.health import UNSEEN, Standing, describe, standing
from router_extproc.policy.strategy import rank
from router_extproc.policy.weights import Draws
from router_extproc.registry.health import DeploymentHealth
from router_extproc.registry.snapshot import Deployment


class Pool:
    """The candidates of one request as they are looked at.

    ``fallen`` says why, by deployment; ``cooling`` holds those that only their health keeps out; ``probes`` names those
    that may be tried by taking their probe. ``used_up`` holds those whose quota is, with the seconds until it resets.
    """

    __slots__ = (
        "_can_be_granted",
        "_demand",
        "_draws",
        "_health",
        "_judged",
        "_now",
        "_wish",
        "cooling",
        "fallen",
        "probes",
        "used_up",
    )

    def __init__(
        self, demand: Demand, health: Mapping[str, DeploymentHealth], draws: Draws, now: float, wish: Wish | None = None
    ) -> None:
        self._demand, self._health, self._draws, self._now, self._wish = demand, health, draws, now, wish
        # By identity: choices are shared by all requests of a menu, and comparing them would cost more than judging.
        self._judged: dict[int, tuple[Deployment, ...]] = {}
        self._can_be_granted = False
        self.fallen: dict[str, Rejection] = {}
        self.cooling: list[Option] = []
        self.probes: set[str] = set()
        self.used_up = {name: one.quota_until - now for name, one in health.items() if one.quota_until > now}

    def options(self, groups: Sequence[Group], strategy: str) -> Iterator[Option]:
        """What may be tried, best first, half-open deployments with a free probe included."""
        return rank(
            groups,
            strategy,
            self.usable,
            request=self._demand.request,
            health=self._health,
            draws=self._draws,
            wish=self._wish,
            token_ratios=self._demand.token_ratios,
        )

    def is_last_resort(self, option: Option) -> bool:
        """Whether the option is weaker than what the request asks for, and other options, tried before it, are not."""
        return self._can_be_granted and not self._grants(option.choice)

    def _grants(self, choice: Choice) -> bool:
        return self._wish is not None and choice.model.tier >= self._wish.tier

    def usable(self, choice: Choice) -> tuple[Deployment, ...]:
        """The deployments of a choice that meet the demand and are not cooling down."""
        judged = self._judged.get(id(choice))
        if judged is None:
            judged = self._judged[id(choice)] = self._judge(choice)
            self._can_be_granted = self._can_be_granted or (bool(judged) and self._grants(choice))
        return judged

    def _judge(self, choice: Choice) -> tuple[Deployment, ...]:
        found = usable_deployments(choice, self._demand)
        if isinstance(found, Rejection):
            for deployment in choice.deployments:
                self.fallen[deployment.name] = found
            return ()
        if len(found) < len(choice.deployments):
            for deployment in choice.deployments:
                rejection = why_deployment_not(deployment, self._demand)
                if rejection is not None:
                    self.fallen[deployment.name] = rejection
        if not self._health:
            return found
        return tuple(deployment for deployment in found if self._is_standing(choice, deployment))

    def _is_standing(self, choice: Choice, deployment: Deployment) -> bool:
        health = self._health.get(deployment.name, UNSEEN)
        state = standing(health)
        if state is Standing.COOLING:
            self.cooling.append(Option(choice, deployment))
            self.fallen[deployment.name] = Rejection(Stage.HEALTH, describe(health, self._now))
            return False
        if state is Standing.PROBE:
            self.probes.add(deployment.name)
        return True
