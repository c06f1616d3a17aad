"""What the parts of the classifier look like to whoever puts them together: any object of this shape will do."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from router_extproc.analysis.conversation import Conversation
from router_extproc.analysis.encoding import TextEncoding
from router_extproc.analysis.surface import SurfaceFeatures


class Routing(Protocol):
    """How strong a model a text needs; the meaning of each value stands in ``Facts``."""

    @property
    def needs_strong(self) -> float: ...  # noqa: D102
    @property
    def complexity(self) -> int: ...  # noqa: D102
    @property
    def adequacy(self) -> tuple[float, float, float]: ...  # noqa: D102
    @property
    def verifiable(self) -> float: ...  # noqa: D102
    @property
    def unsure(self) -> tuple[str, ...]: ...  # noqa: D102


class Named(Protocol):
    """The likeliest of several names, and the calibrated probability of each."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def scores(self) -> Mapping[str, float]: ...  # noqa: D102


class Task(Named, Protocol):
    """The kind of work; ``unsure`` when no kind is likely enough to act on. ``thought``: see ``TaskScore``."""

    @property
    def unsure(self) -> bool: ...  # noqa: D102
    @property
    def thought(self) -> float: ...  # noqa: D102


class Injection(Protocol):
    """The probability of an injection in the worst piece of a conversation, and the rule it meets that counts most."""

    @property
    def probability(self) -> float: ...  # noqa: D102
    @property
    def source(self) -> str: ...  # noqa: D102
    @property
    def rule(self) -> str | None: ...  # noqa: D102
    @property
    def truncated(self) -> bool: ...  # noqa: D102


class RoutingReader(Protocol):
    """Reads how strong a model is needed."""

    def score(self, encoding: TextEncoding, surface: SurfaceFeatures, language: str | None) -> Routing: ...  # noqa: D102


class TaskReader(Protocol):
    """Reads the kind of work."""

    def score(  # noqa: D102
        self,
        encoding: TextEncoding,
        surface: SurfaceFeatures,
        conversation: Conversation,
        *,
        offers_tools: bool,
        wants_format: bool,
    ) -> Task: ...


class RiskReader(Protocol):
    """Reads the risky domain."""

    def score(  # noqa: D102
        self, encoding: TextEncoding, surface: SurfaceFeatures, conversation: Conversation
    ) -> Named: ...


class InjectionReader(Protocol):
    """Reads whether a piece of the conversation attacks."""

    def score(self, conversation: Conversation) -> Injection: ...  # noqa: D102


class SemanticRouteReader(Protocol):
    """The configured route that a vector is like, with the similarity; None where none is like enough."""

    def match(self, vector: NDArray[np.float32]) -> tuple[str | None, float]: ...  # noqa: D102


class CustomTaskReader(Protocol):
    """The probability, 0 to 1, of each configured task for a vector."""

    def score(self, vector: NDArray[np.float32]) -> Mapping[str, float]: ...  # noqa: D102


class KeywordReader(Protocol):
    """The configured phrases that stand in a text."""

    def find(self, text: str) -> Collection[str]: ...  # noqa: D102
