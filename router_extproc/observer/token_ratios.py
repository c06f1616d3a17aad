"""How many tokens a model counts for each one that was estimated: learned from what providers report. Pure.

Estimates are o200k_base's for every model, while tokenizers differ: the same text may be a fifth more tokens for one and a
fifth less for another. Figures stand beside each constant; they are judgements, not measurements.

Rules of this file
- Estimates come in as they were made, before any ratio: what is learned never feeds on itself.
- One observation moves little, however odd it is: the first ones give their median, each later one a bounded step.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Mapping

from router_extproc.observer.records import Usage

# Before this many observations a model's ratio is not told.
FEWEST_OBSERVATIONS = 20
# What a chat template adds weighs too much in shorter prompts.
FEWEST_TOKENS = 32
# No tokenizer in use is further away than this; what is has another cause, such as a system prompt that a provider adds.
LEAST, MOST = 0.5, 2.0

# Later observations count as if these many were averaged.
_MEMORY = 100
# How far from the ratio an observation may seem to be, either way: a factor of 1.25.
_FURTHEST = math.log(1.25)
# Deciders re-read the file when a ratio changes, and a hundredth is far below the error of any estimate.
_DIGITS = 2
_MOST_MODELS = 4_096


class _Ratio:
    """One model's; ``mean`` is of the logarithms, None until there are enough of them."""

    __slots__ = ("count", "first", "mean")

    def __init__(self, mean: float | None = None, count: int = 0) -> None:
        self.mean, self.count = mean, count
        self.first: list[float] = []

    def observe(self, logarithm: float) -> None:
        self.count = min(self.count + 1, _MEMORY)
        if self.mean is None:
            self.first.append(logarithm)
            if len(self.first) < FEWEST_OBSERVATIONS:
                return
            mean = statistics.median(self.first)
            self.first.clear()
        else:
            mean = self.mean + min(max(logarithm - self.mean, -_FURTHEST), _FURTHEST) / self.count
        # Kept within the limits, not only shown so: from beyond them the way back would be long.
        self.mean = min(max(mean, math.log(LEAST)), math.log(MOST))


class TokenRatios:
    """The ratios of all models that were observed, at most ``_MOST_MODELS``."""

    def __init__(self) -> None:
        self._ratios: dict[str, _Ratio] = {}

    def restore(self, ratios: Mapping[str, float]) -> None:
        """Goes on where another process ended; what is no possible ratio is left out."""
        for model, ratio in list(ratios.items())[:_MOST_MODELS]:
            if LEAST <= ratio <= MOST:
                self._ratios[model] = _Ratio(math.log(ratio), _MEMORY)

    def retain(self, models: Collection[str]) -> None:
        """Forgets models that no longer exist."""
        for model in [model for model in self._ratios if model not in models]:
            del self._ratios[model]

    def observe(self, model: str, estimated: int | None, usage: Usage | None) -> None:
        """Takes one answer into account: the tokens ``estimated`` for its prompt, and what its provider counted.

        What says nothing is passed over: no estimate or a short prompt, no count, and a prompt of which a part was cached,
        because providers do not agree whether that part is counted.
        """
        if estimated is None or usage is None or estimated < FEWEST_TOKENS or usage.prompt_tokens <= 0 or usage.cached_tokens:
            return
        ratio = self._ratios.get(model)
        if ratio is None:
            if len(self._ratios) >= _MOST_MODELS:
                return
            ratio = self._ratios[model] = _Ratio()
        ratio.observe(math.log(usage.prompt_tokens / estimated))

    def view(self) -> dict[str, float]:
        """What deciders are told, by model; a model that is missing is not known well enough, or at all."""
        return {model: round(math.exp(ratio.mean), _DIGITS) for model, ratio in self._ratios.items() if ratio.mean is not None}
