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
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from router_extproc.analysis.code_reading import CodeReading, read_code
from router_extproc.analysis.conversation import Conversation, read_conversation
from router_extproc.analysis.encoding import TextEncoding
from router_extproc.analysis.fact import Fact, Part, fact
from router_extproc.analysis.facts import Counts, offers_tools, read_counts, rough_tokens
from router_extproc.analysis.heads import Injection, Named, Routing, Task
from router_extproc.analysis.language import Language, detect_language
from router_extproc.analysis.needs import read_needs
from router_extproc.analysis.output_length import expected_output_tokens
from router_extproc.analysis.reasoning import read_reasoning
from router_extproc.analysis.structure import Structure, read_structure
from router_extproc.analysis.surface import SurfaceFeatures, surface_features
from router_extproc.analysis.window import head_and_tail
from router_extproc.dialects.openai import Envelope, read_envelope
from router_extproc.errors import RequestError
from router_extproc.facts import Signal
from router_extproc.request import JSON_MODE, JSON_SCHEMA

if TYPE_CHECKING:
    from router_extproc.analysis.analyser import Analyser

_Value = TypeVar("_Value")

# A kind of work this likely is asked for, beside others.
LIKELY = 0.5
# Characters at the beginning and end of a task in which it says how long an answer it wants.
_ASKED = (1_000, 500)
_FORMATS = frozenset({JSON_MODE, JSON_SCHEMA})
_MILLISECONDS = 1_000.0
_DIGITS = 4


def _show(*names: str) -> Any:
    """Shows these attributes of a fact, numbers rounded; None where there is no fact."""

    def show(found: object) -> object:
        return None if found is None else {name: _rounded(getattr(found, name)) for name in names}

    return show


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, _DIGITS)
    return [_rounded(one) for one in value] if isinstance(value, tuple) else value


class _Text(NamedTuple):
    conversation: Conversation
    encoding: TextEncoding
    surface: SurfaceFeatures


class RequestAnalysis:
    """The answers to ``router_extproc.facts.Analysis`` for one body; ``Facts`` says what each means."""

    def __init__(self, body: bytes, analyser: Analyser) -> None:
        self._body, self._clock = body, analyser.clock
        self._heads, self._configured = analyser.classifier, analyser.configured
        self._seconds: dict[Fact[Any], float] = {}
        self._failures: dict[Fact[Any], str] = {}
        self._within = 0.0
        self.is_cut_short = False

    def cut_short(self) -> None:
        """From now on nothing more is worked out of the text; what is known stays known."""
        self.is_cut_short = True

    def signals(self) -> tuple[Signal, ...]:
        """What was worked out so far, in the order it was finished; a failure shows as ``failed: `` and the error's name."""
        found, failures = self.__dict__, self._failures
        return tuple(
            Signal(
                one.called,
                one.show(found[one.name]) if one not in failures else f"failed: {failures[one]}",
                round(took * _MILLISECONDS, _DIGITS),
            )
            for one, took in self._seconds.items()
        )

    def work_out(self, wanted: Fact[_Value]) -> _Value:
        """Computes one fact; its time is its own, without that of the facts it asked for on the way."""
        clock, outer = self._clock, self._within
        self._within = 0.0
        started = clock()
        try:
            value = wanted.compute(self)
        except RequestError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a reader stumbles over, the request is answered
            self._failures[wanted] = type(error).__name__
            value = wanted.otherwise
        # An interruption may come between any two lines: what has a time must have a value.
        self.__dict__[wanted.name] = value
        elapsed = clock() - started
        self._seconds[wanted] = elapsed - self._within
        self._within = outer + elapsed
        return value

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

    @fact(called="tokens", show=lambda counts: counts.tokens)
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

    @fact(show=_show("has_code", "language", "intent"))
    def code(self) -> CodeReading | None:
        """What the request has to do with program code; of long texts beginning and end are looked at."""
        return None if self.counts is None else read_code([head_and_tail(text).text for text in self.counts.texts])

    has_code: Part[bool | None] = Part("code", None)
    code_language: Part[str | None] = Part("code", None, "language")
    code_intent: Part[str | None] = Part("code", None, "intent")

    @fact(show=_show("turn", "step", "continues"))
    def conversation(self) -> Conversation | None:
        """Who said what, and the text of the task in progress."""
        return read_conversation(self.envelope)

    turn: Part[int | None] = Part("conversation", None)
    step: Part[str | None] = Part("conversation", None)

    @fact(show=_show("steps", "constraints", "questions"))
    def structure(self) -> Structure | None:
        """How much the task asks at once; of a long one beginning and end are looked at."""
        return None if self.conversation is None else read_structure(head_and_tail(self.conversation.task).text)

    steps: Part[int | None] = Part("structure", None)
    constraints: Part[int | None] = Part("structure", None)
    questions: Part[int | None] = Part("structure", None)

    @fact(show=_show("truncated"))
    def encoding(self) -> TextEncoding | None:
        """The text of the task as heads see it; None without a text or an encoder."""
        if self._heads.encoder is None or self.conversation is None or not self.conversation.task:
            return None
        return TextEncoding(self.conversation.task, self._heads.encoder)

    truncated: Part[bool | None] = Part("encoding", None)

    @fact(show=lambda _: None)
    def surface(self) -> SurfaceFeatures | None:
        """Countable features of the text."""
        return None if self.encoding is None else surface_features(self.encoding.text)

    @fact(called="language", show=_show("code", "confidence", "mixed"))
    def spoken(self) -> Language | None:
        """The language that the task is written in, and others that stand in it."""
        return None if self.conversation is None else detect_language(self.conversation.task)

    language: Part[str | None] = Part("spoken", None, "code")

    @property
    def _text(self) -> _Text | None:
        if self.conversation is None or self.encoding is None or self.surface is None:
            return None
        return _Text(self.conversation, self.encoding, self.surface)

    @fact(show=_show("needs_strong", "complexity", "adequacy", "verifiable", "unsure"))
    def routing(self) -> Routing | None:
        """How strong a model the task needs."""
        head, text = self._heads.routing, self._text
        return None if head is None or text is None else head.score(text.encoding, text.surface, self.language)

    needs_strong: Part[float | None] = Part("routing", None)
    complexity: Part[int | None] = Part("routing", None)
    adequacy: Part[tuple[float, float, float] | None] = Part("routing", None)
    verifiable: Part[float | None] = Part("routing", None)
    unsure: Part[tuple[str, ...]] = Part("routing", ())

    @fact(called="task", show=_show("name", "unsure"))
    def kind(self) -> Task | None:
        """The kind of work, of those that every configuration knows."""
        head, text = self._heads.tasks, self._text
        if head is None or text is None:
            return None
        return head.score(
            text.encoding,
            text.surface,
            text.conversation,
            offers_tools=self.has_tools,
            wants_format=not self.needs.isdisjoint(_FORMATS),
        )

    @fact(otherwise={}, show=lambda scores: {name: _rounded(score) for name, score in scores.items()})
    def custom_tasks(self) -> Mapping[str, float]:
        """The probability of each kind of work that the configuration describes by examples."""
        custom = self._configured.custom_tasks
        return {} if custom is None or self.encoding is None else custom.score(self.encoding.vector)

    @property
    def tasks(self) -> Mapping[str, float]:
        """The probability of each kind of work."""
        return {**({} if self.kind is None else self.kind.scores), **self.custom_tasks}

    @property
    def task(self) -> str | None:
        """The kind of work asked for, the configuration's own kinds before ours; None when no kind is likely enough."""
        custom = max(self.custom_tasks, key=self.custom_tasks.__getitem__, default=None)
        if custom is not None and self.custom_tasks[custom] >= LIKELY:
            return custom
        return None if self.kind is None or self.kind.unsure else self.kind.name

    @fact(show=_rounded)
    def reasoning(self) -> float | None:
        """How likely the task is to be thought through."""
        if self._text is None or self.kind is None or self.routing is None:
            return None
        return read_reasoning(self._text.encoding, self.kind.scores, self.kind.thought, self.routing.needs_strong)

    @fact()
    def answer_tokens(self) -> int | None:
        """How many tokens an answer will probably have; None where the kind of work cannot be read."""
        if self._text is None or self._heads.tasks is None:
            return None
        asked = head_and_tail(self._text.encoding.text, *_ASKED).text
        return expected_output_tokens(asked, task=self.task, prompt_tokens=self.prompt_tokens)

    @fact(called="risk", show=_show("name"))
    def danger(self) -> Named | None:
        """The risky domain."""
        head, text = self._heads.risk, self._text
        return None if head is None or text is None else head.score(text.encoding, text.surface, text.conversation)

    @property
    def risk(self) -> str | None:
        """The name of the risky domain."""
        return None if self.danger is None else self.danger.name

    @fact(called="injection", show=_show("probability", "source", "rule", "truncated"))
    def attack(self) -> Injection | None:
        """The worst piece of the conversation."""
        head = self._heads.injection
        return None if head is None or self.conversation is None else head.score(self.conversation)

    @property
    def injection(self) -> float | None:
        """The probability that a piece of the prompt tries to take the model over."""
        return None if self.attack is None else self.attack.probability

    @fact(show=lambda found: None if found is None else sorted(found))
    def keywords(self) -> frozenset[str] | None:
        """The phrases of rules that stand in the task."""
        reader = self._configured.keywords
        if reader is None or self.conversation is None:
            return None
        return frozenset(reader.find(head_and_tail(self.conversation.task).text))

    @fact()
    def semantic_route(self) -> str | None:
        """The configured route that the text is like."""
        routes, encoder, text = self._configured.semantic_routes, self._configured.route_encoder, self.encoding
        if routes is None or text is None:
            return None
        return routes.match(text.vector if encoder is None else encoder.encode([text.text])[0])[0]
