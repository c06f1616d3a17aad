"""One request's analysis: every fact is worked out when it is first asked for, once, and the record says which were.

Rules of this file
- What the body's form says (limits, needs, images, tools) is always answered: without it nothing can be decided.
- What the text says is answered None once the analysis was cut short, and where a reader is missing or fails: a defect of
  the classifier costs a cheap answer, never an answer. A deadline's exception passes through.
- The clock is the caller's; this room knows none.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from router_extproc.analysis.code import has_code
from router_extproc.analysis.fact import Fact, Part, fact
from router_extproc.analysis.facts import Counts, offers_tools, read_counts, rough_tokens
from router_extproc.analysis.heads import Injection, Named, Routing, Task
from router_extproc.analysis.needs import read_needs
from router_extproc.dialects.openai import Envelope, read_envelope
from router_extproc.errors import RequestError
from router_extproc.facts import Signal

if TYPE_CHECKING:
    from router_extproc.analysis.analyser import Analyser

_Value = TypeVar("_Value")

_MILLISECONDS = 1_000.0
_DIGITS = 4


def _show(*names: str) -> Any:
    """Shows these attributes of a fact, numbers rounded; None where there is no fact."""

    def show(found: object) -> object:
        return None if found is None else {name: _rounded(getattr(found, name)) for name in names}

    return show


def _rounded(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_rounded(one) for one in value]
    return round(value, _DIGITS) if isinstance(value, float) else value


class RequestAnalysis:
    """The answers to ``router_extproc.facts.Analysis`` for one body; ``Facts`` says what each means."""

    def __init__(self, body: bytes, analyser: Analyser) -> None:
        self._body, self._analyser, self._heads = body, analyser, analyser.classifier
        self._seconds: dict[str, float] = {}
        self._failures: dict[str, str] = {}
        self._within = 0.0
        self.is_cut_short = False

    def cut_short(self) -> None:
        """From now on nothing more is worked out of the text; what is known stays known."""
        self.is_cut_short = True

    def signals(self) -> tuple[Signal, ...]:
        """What was worked out so far, in the order it was finished; a failure shows as ``failed: `` and the error's name."""
        return tuple(Signal(name, self._shown(name), _rounded(took * _MILLISECONDS)) for name, took in self._seconds.items())

    def work_out(self, wanted: Fact[_Value]) -> _Value:
        """Computes one fact; its time is its own, without that of the facts it asked for on the way."""
        clock, outer = self._analyser.clock, self._within
        self._within = 0.0
        started = clock()
        try:
            value = wanted.compute(self)
        except RequestError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a reader stumbles over, the request is answered
            self._failures[wanted.name] = type(error).__name__
            value = wanted.otherwise
        elapsed = clock() - started
        self._seconds[wanted.name] = elapsed - self._within
        self._within = outer + elapsed
        return value

    def _shown(self, name: str) -> Any:
        if name in self._failures:
            return f"failed: {self._failures[name]}"
        return getattr(type(self), name).show(self.__dict__[name])

    # What the form of the body says.

    @cached_property
    def envelope(self) -> Envelope:
        """The body, read as far as routing needs."""
        return read_envelope(self._body)

    @cached_property
    def needs(self) -> frozenset[str]:
        """The capabilities without which an answer is impossible."""
        return read_needs(self.envelope)

    @property
    def max_output_tokens(self) -> int | None:
        """The caller's own limit for one answer, in tokens."""
        return self.envelope.answer_limit

    @property
    def choices(self) -> int:
        """Answers asked for."""
        return max(1, self.envelope.n or 1)

    @property
    def has_tools(self) -> bool:
        """Whether tools are offered."""
        return offers_tools(self.envelope)

    @fact(show=lambda counts: counts.tokens)
    def counts(self) -> Counts | None:
        """Tokens, characters and images in one pass."""
        return read_counts(self.envelope)

    @property
    def prompt_tokens(self) -> int:
        """An estimate; a rough one from the body's size when counting was cut short."""
        return rough_tokens(self._body) if self.counts is None else self.counts.tokens

    characters = Part("counts", 0)
    images = Part("counts", 0)

    # What the text says.

    @fact()
    def has_code(self) -> bool | None:
        """Whether program code stands in what was asked or answered."""
        return None if self.counts is None else has_code(self.counts.texts)

    @fact(show=_show("turn", "step", "continues"))
    def conversation(self) -> Any:
        """Who said what, and the text of the task in progress."""
        return None if self._heads.read_conversation is None else self._heads.read_conversation(self.envelope)

    turn: Part[int | None] = Part("conversation", None)
    step: Part[str | None] = Part("conversation", None)

    @fact(show=_show("truncated"))
    def encoding(self) -> Any:
        """The text of the task as heads see it; None without a text or an encoder."""
        text = "" if self.conversation is None else self.conversation.task
        return self._heads.encode(text) if text and self._heads.encode is not None else None

    truncated: Part[bool | None] = Part("encoding", None)

    @fact(show=lambda _: None)
    def surface(self) -> Any:
        """Countable features of the text."""
        return (
            None if self._heads.read_surface is None or self.encoding is None else self._heads.read_surface(self.encoding.text)
        )

    @fact()
    def language(self) -> str | None:
        """The language that the request is written in."""
        if self._heads.read_language is None or self.encoding is None:
            return None
        code: str | None = self._heads.read_language(self.encoding.text).code
        return code

    @fact(show=_show("needs_strong", "complexity", "adequacy", "verifiable", "unsure"))
    def routing(self) -> Routing | None:
        """How strong a model the task needs."""
        if self._heads.routing is None or self.encoding is None:
            return None
        return self._heads.routing.score(self.encoding, self.surface, self.language)

    needs_strong: Part[float | None] = Part("routing", None)
    complexity: Part[int | None] = Part("routing", None)
    adequacy: Part[tuple[float, float, float] | None] = Part("routing", None)
    verifiable: Part[float | None] = Part("routing", None)
    unsure: Part[tuple[str, ...]] = Part("routing", ())

    @fact(show=_show("name", "unsure"))
    def kind(self) -> Task | None:
        """The kind of work, among the classifier's own."""
        if self._heads.tasks is None or self.encoding is None:
            return None
        return self._heads.tasks.score(self.encoding, self.surface, self.conversation)

    @property
    def task(self) -> str | None:
        """The kind of work asked for, None when no kind is likely enough."""
        return None if self.kind is None or self.kind.unsure else self.kind.name

    @fact(otherwise={}, show=lambda scores: {name: round(score, _DIGITS) for name, score in scores.items()})
    def custom_tasks(self) -> Mapping[str, float]:
        """The probability of each task that the configuration describes by examples."""
        custom = self._analyser.custom_tasks
        return custom.score(self.encoding.vector) if custom is not None and self.encoding is not None else {}

    @property
    def tasks(self) -> Mapping[str, float]:
        """The probability of each kind of work, the configuration's own included."""
        return {**(self.kind.scores if self.kind is not None else {}), **self.custom_tasks}

    @fact(show=_show("name"))
    def danger(self) -> Named | None:
        """The risky domain."""
        if self._heads.risk is None or self.encoding is None:
            return None
        return self._heads.risk.score(self.encoding, self.surface, self.conversation)

    @property
    def risk(self) -> str | None:
        """The name of the risky domain."""
        return None if self.danger is None else self.danger.name

    @fact(show=_show("probability", "source"))
    def attack(self) -> Injection | None:
        """The worst piece of the conversation."""
        if self._heads.injection is None or self.conversation is None:
            return None
        return self._heads.injection.score(self.conversation)

    @property
    def injection(self) -> float | None:
        """The probability that a piece of the prompt tries to take the model over."""
        return None if self.attack is None else self.attack.probability

    @fact(show=lambda found: None if found is None else sorted(found))
    def keywords(self) -> frozenset[str] | None:
        """The phrases of rules that stand in the task."""
        if self._analyser.keywords is None or self.conversation is None:
            return None
        return frozenset(self._analyser.keywords.find(self.conversation.task))

    @fact()
    def semantic_route(self) -> str | None:
        """The configured route that the text is like."""
        routes = self._analyser.semantic_routes
        return routes.match(self.encoding.vector)[0] if routes is not None and self.encoding is not None else None
