"""What may be asked about a request's content: the questions, plain answers to them, and the record of what was asked.

Rules of this file
- Values only. How a fact is found out is the business of ``analysis``; who asks need not know.
- None always means: not known. Whoever asks decides what to do then, and ``policy`` decides for the stronger model.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Protocol

import msgspec


class Signal(msgspec.Struct, frozen=True):
    """One fact that was worked out for a decision, and the milliseconds that took, those of other signals apart."""

    name: str
    value: Any
    milliseconds: float = 0.0


class Analysis(Protocol):
    """The questions. An implementation may work each answer out when it is first asked for; ``Facts`` says what they mean."""

    @property
    def prompt_tokens(self) -> int: ...  # noqa: D102 - see Facts, here and below
    @property
    def characters(self) -> int: ...  # noqa: D102
    @property
    def images(self) -> int: ...  # noqa: D102
    @property
    def has_tools(self) -> bool: ...  # noqa: D102
    @property
    def needs(self) -> frozenset[str]: ...  # noqa: D102
    @property
    def max_output_tokens(self) -> int | None: ...  # noqa: D102
    @property
    def choices(self) -> int: ...  # noqa: D102
    @property
    def has_code(self) -> bool | None: ...  # noqa: D102
    @property
    def code_language(self) -> str | None: ...  # noqa: D102
    @property
    def code_intent(self) -> str | None: ...  # noqa: D102
    @property
    def steps(self) -> int | None: ...  # noqa: D102
    @property
    def constraints(self) -> int | None: ...  # noqa: D102
    @property
    def questions(self) -> int | None: ...  # noqa: D102
    @property
    def answer_tokens(self) -> int | None: ...  # noqa: D102
    @property
    def turn(self) -> int | None: ...  # noqa: D102
    @property
    def step(self) -> str | None: ...  # noqa: D102
    @property
    def language(self) -> str | None: ...  # noqa: D102
    @property
    def task(self) -> str | None: ...  # noqa: D102
    @property
    def tasks(self) -> Mapping[str, float]: ...  # noqa: D102
    @property
    def reasoning(self) -> float | None: ...  # noqa: D102
    @property
    def risk(self) -> str | None: ...  # noqa: D102
    @property
    def needs_strong(self) -> float | None: ...  # noqa: D102
    @property
    def complexity(self) -> int | None: ...  # noqa: D102
    @property
    def adequacy(self) -> tuple[float, float, float] | None: ...  # noqa: D102
    @property
    def verifiable(self) -> float | None: ...  # noqa: D102
    @property
    def unsure(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def injection(self) -> float | None: ...  # noqa: D102
    @property
    def keywords(self) -> AbstractSet[str] | None: ...  # noqa: D102
    @property
    def semantic_route(self) -> str | None: ...  # noqa: D102
    @property
    def truncated(self) -> bool | None: ...  # noqa: D102
    @property
    def is_cut_short(self) -> bool: ...  # noqa: D102
    def cut_short(self) -> None: ...  # noqa: D102
    def signals(self) -> tuple[Signal, ...]: ...  # noqa: D102


class Facts(msgspec.Struct, frozen=True):
    """The answers as plain values; also those of a request of which nothing is known.

    Read from the body's form:
        prompt_tokens: an estimate in tokens; text, tools and images counted, data URLs never as text.
        characters: of all texts.
        images: how many the prompt holds.
        has_tools: whether tools are offered.
        needs: the capabilities without which an answer is impossible.
        max_output_tokens: the caller's own limit for one answer, in tokens.
        choices: answers asked for.
        turn: 1 for the first request of a conversation.
        step: ``first``, ``follow_up``, ``continuation``, ``tool_call`` or ``tool_result``.

    Read from the text:
        has_code: whether program code stands in what was asked or answered; system prompts do not count.
        code_language: the programming language of the code, or of the code that is asked for.
        code_intent: ``write``, ``explain`` or ``fix``: what is to be done with code.
        steps: list items and words of sequence ("then", "finally") in the task.
        constraints: words that bind the answer ("at most", "without", "in JSON") in the task.
        questions: question marks in the task, several in a row as one.
        answer_tokens: how many tokens an answer will probably have, by the kind of work and the length asked for.
        language: ISO 639-1 code of the language that the request is written in.
        task: the kind of work asked for, by the names of ``models.*.strengths``.
        tasks: the calibrated probability, 0 to 1, of each kind of work; several may be likely.
        reasoning: how likely, 0 to 1, the task is to be thought through: a puzzle, a conclusion, mathematics beyond a sum.
        risk: ``medical``, ``legal``, ``financial``, ``confidential``, ``self_harm`` or ``none``.
        needs_strong: probability, 0 to 1, that a model of the economy tier is not good enough.
        complexity: 0 to 10; the higher ``needs_strong``, the higher.
        adequacy: probabilities, 0 to 1, that economy, standard and premium are good enough.
        verifiable: probability, 0 to 1, that an answer can be checked.
        unsure: why the classifier, not sure of this text, rather asked for a stronger model.
        injection: probability, 0 to 1, that some part of the prompt tries to take the model over.
        keywords: the phrases of rules that stand in the text.
        semantic_route: the name of the semantic route whose examples the text is like.
        truncated: whether only the beginning and end of the text were looked at.
    """

    prompt_tokens: int = 0
    characters: int = 0
    images: int = 0
    has_tools: bool = False
    needs: frozenset[str] = frozenset()
    max_output_tokens: int | None = None
    choices: int = 1
    turn: int | None = None
    step: str | None = None
    has_code: bool | None = None
    code_language: str | None = None
    code_intent: str | None = None
    steps: int | None = None
    constraints: int | None = None
    questions: int | None = None
    answer_tokens: int | None = None
    language: str | None = None
    task: str | None = None
    tasks: Mapping[str, float] = {}
    reasoning: float | None = None
    risk: str | None = None
    needs_strong: float | None = None
    complexity: int | None = None
    adequacy: tuple[float, float, float] | None = None
    verifiable: float | None = None
    unsure: tuple[str, ...] = ()
    injection: float | None = None
    keywords: frozenset[str] | None = None
    semantic_route: str | None = None
    truncated: bool | None = None

    @property
    def is_cut_short(self) -> bool:
        """Never: what is known is known."""
        return False

    def cut_short(self) -> None:
        """Nothing to do: no more is worked out anyway."""

    def signals(self) -> tuple[Signal, ...]:
        """None: nothing was worked out."""
        return ()


_NAMES = Facts.__struct_fields__


def facts_of(analysis: Analysis) -> Facts:
    """Every answer that an analysis can give; it works out all of them."""
    return analysis if isinstance(analysis, Facts) else Facts(**{name: getattr(analysis, name) for name in _NAMES})
