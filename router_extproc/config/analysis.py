"""The schema of ``analysis``: how it is found out what a request is."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from router_extproc.config.section import Section
from router_extproc.config.values import Example, Milliseconds, OwnName, Share, TierName

NO_FLOOR = "none"
FloorName = Literal["economy", "standard", "premium", "none"]


class RiskFloor(Section):
    """The tier that ``auto`` does not go below for a risky domain, whatever the prompt's length; ``none`` for no floor."""

    medical: FloorName = Field("premium", description="Health, drugs, diagnoses.")
    legal: FloorName = Field("premium", description="Law, contracts, disputes.")
    financial: FloorName = Field("premium", description="Money, taxes, investments.")
    confidential: FloorName = Field("premium", description="Secrets, personal data, credentials.")
    self_harm: FloorName = Field("premium", description="People in danger from themselves.")


class SemanticRoute(Section):
    """A kind of text, by examples of it, in plain language, or both."""

    utterances: tuple[Example, ...] = Field((), max_length=10_000, description="What people write; five or more.")
    description: Example | None = Field(None, description="What such texts are about, in plain language.")
    threshold: Share | None = Field(None, description="The least similarity. Default: fitted to the examples.")

    @model_validator(mode="after")
    def _something(self) -> SemanticRoute:
        if not self.utterances and self.description is None:
            message = "a semantic route needs `utterances` or a `description`"
            raise PydanticCustomError("missing_examples", message, {"fix": "write what such requests say"})
        return self


_FEWEST_EXAMPLES = 5


def _differ(examples: tuple[str, ...]) -> tuple[str, ...]:
    """Texts that differ in case or spaces alone are one example: nothing could be learned from the second."""
    different = len({" ".join(example.casefold().split()) for example in examples})
    if different < _FEWEST_EXAMPLES:
        message = "expected at least {least} different texts, found {different}"
        context = {"least": _FEWEST_EXAMPLES, "different": different, "fix": "write what else such requests say"}
        raise PydanticCustomError("equal_examples", message, context)
    return examples


Examples = Annotated[tuple[Example, ...], Field(min_length=_FEWEST_EXAMPLES, max_length=10_000), AfterValidator(_differ)]


class Analysis(Section):
    """How it is found out what a request is. Nothing leaves the machine for it."""

    deadline: Milliseconds = Field(20, description="For one request; when it has passed, auto takes the strongest models.")
    encoder: Literal["static", "minilm"] = Field("static", description="What compares texts with semantic routes.")
    risk_floor: RiskFloor = Field(RiskFloor(), description="How strong a model risky domains get.")
    reasoning_tier: TierName = Field("standard", description="The weakest tier for puzzles, conclusions and mathematics.")
    tasks: dict[OwnName, Examples] = Field({}, description="Further kinds of work: for each at least five examples.")
    semantic_routes: dict[OwnName, SemanticRoute] = Field({}, description="Kinds of texts that rules can ask for.")
