"""The schema of ``rules[].when``: what a rule may ask of a request."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field, field_validator, model_validator
from pydantic.config import JsonDict
from pydantic_core import PydanticCustomError

from router_extproc.config.section import Section
from router_extproc.config.values import ApiPath, HeaderName, LanguageCode, OwnName, Phrase, RiskName, Share, TaskName


class Range(Section):
    """Inclusive bounds."""

    at_least: Annotated[int, Field(ge=0, le=1_000_000_000)] | None = Field(None, description="Lower bound.")
    at_most: Annotated[int, Field(ge=0, le=1_000_000_000)] | None = Field(None, description="Upper bound.")

    @model_validator(mode="after")
    def _not_empty(self) -> Range:
        _check_bounds(self.at_least, self.at_most)
        return self


class Probability(Section):
    """Inclusive bounds between 0 and 1."""

    at_least: Share | None = Field(None, description="Lower bound.")
    at_most: Share | None = Field(None, description="Upper bound.")

    @model_validator(mode="after")
    def _not_empty(self) -> Probability:
        _check_bounds(self.at_least, self.at_most)
        return self


def _check_bounds(at_least: float | None, at_most: float | None) -> None:
    if at_least is None and at_most is None:
        raise PydanticCustomError("empty_range", "no bound is written", {"fix": "write `at_least`, `at_most` or both"})
    if at_least is not None and at_most is not None and at_least > at_most:
        message = "at_least {at_least} is above at_most {at_most}: nothing can match"
        context = {"at_least": at_least, "at_most": at_most, "fix": "exchange them"}
        raise PydanticCustomError("empty_range", message, context)


def _list_of_phrases_too(schema: JsonDict) -> None:
    """Says in the JSON Schema that a list is enough."""
    mapping = dict(schema)
    schema.clear()
    phrases: JsonDict = {"type": "array", "items": {"type": "string"}, "description": "The same as `any`."}
    schema |= {"anyOf": [phrases, mapping]}


class Keywords(Section):
    """Words and phrases in the text, by whole words, upper and lower case alike. A list is short for ``any``."""

    model_config = ConfigDict(json_schema_extra=_list_of_phrases_too)

    any: tuple[Phrase, ...] = Field((), description="One of these stands in the text.")
    all: tuple[Phrase, ...] = Field((), description="All of these do.")
    none: tuple[Phrase, ...] = Field((), description="None of these does.")

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: object) -> object:
        return {"any": value} if isinstance(value, (tuple, list)) else value

    @model_validator(mode="after")
    def _not_empty(self) -> Keywords:
        if not (self.any or self.all or self.none):
            raise PydanticCustomError("empty_keywords", "no keyword is written", {"fix": "write a list of words"})
        return self


class When(Section):
    """All that is written must hold. Strings match exactly, or by prefix when they end in ``*``."""

    route: tuple[str, ...] = Field((), description="Routes the rule applies to. Default: auto.")
    headers: dict[HeaderName, str] = Field({}, description="Request headers and their values.")
    path: ApiPath | None = Field(None, description="The request's path.")
    prompt_tokens: Range | None = Field(None, description="Estimated tokens of the prompt.")
    code: bool | None = Field(None, description="The prompt holds code.")
    tools: bool | None = Field(None, description="The request offers tools.")
    images: bool | None = Field(None, description="The prompt holds images.")
    stream: bool | None = Field(None, description="The answer is streamed.")
    turn: Range | None = Field(None, description="How many requests of the conversation there were, this one included.")
    keywords: Keywords | None = Field(None, description="Words and phrases in the task.")
    language: tuple[LanguageCode, ...] = Field((), description="One of these languages (ISO 639-1).")
    semantic_route: tuple[OwnName, ...] = Field((), description="The text is like one of these `analysis.semantic_routes`.")
    task: tuple[TaskName, ...] = Field((), description="One of these kinds of work is asked for.")
    risk: tuple[RiskName, ...] = Field((), description="One of these domains.")
    complexity: Range | None = Field(None, description="0 to 10.")
    needs_strong: Probability | None = Field(None, description="Probability that an economy model is not good enough.")
    injection: Probability | None = Field(None, description="Probability that a part of the prompt is an attack.")

    @field_validator(
        "route",
        "language",
        "semantic_route",
        "task",
        "risk",
        mode="before",
        json_schema_input_type=str | tuple[str, ...],
    )
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value
