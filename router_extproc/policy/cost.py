"""What one request is estimated to cost on a model, in USD."""

from __future__ import annotations

from collections.abc import Mapping

from router_extproc.registry.health import NO_RATIOS
from router_extproc.registry.snapshot import Model
from router_extproc.request import AUDIO, CHAT_COMPLETIONS, EMBEDDINGS, FILES, VISION, Request

# When the caller sets no limit, in tokens. Answers of public chat collections average 200 to 400 (LMSYS-Chat-1M:
# https://arxiv.org/abs/2309.11998, table 1).
EXPECTED_ANSWER_TOKENS = 400

# What these ask for is not counted by a tokenizer.
_NO_TEXT = frozenset({VISION, AUDIO, FILES})
_PRICED_BY_TOKENS = (CHAT_COMPLETIONS, "/v1/completions", "/v1/responses", EMBEDDINGS)


def ratios_for(request: Request, learned: Mapping[str, float]) -> Mapping[str, float]:
    """What of the learned ratios holds for the request: they are about text, so none when the prompt is more than that."""
    return learned if learned and request.analysis.needs.isdisjoint(_NO_TEXT) else NO_RATIOS


def estimate_cost(
    model: Model, request: Request, expected: int = EXPECTED_ANSWER_TOKENS, token_ratios: Mapping[str, float] = NO_RATIOS
) -> float | None:
    """The prompt's estimated tokens and the caller's own limit for each answer, at list prices; None without a price.

    ``token_ratios`` says, by model, how many tokens it counts in a prompt for each that is estimated; without one it is 1.
    Without a limit an answer has the ``expected`` tokens, at most as many as the model writes.
    The limit makes it an upper bound for callers who set one. What a provider has cached is not known beforehand. Sound
    and pictures are not priced by tokens of a prompt: None too.
    """
    prices = model.prices
    if prices is None or not request.path.startswith(_PRICED_BY_TOKENS):
        return None
    answer = request.analysis.max_output_tokens
    if request.path == EMBEDDINGS:
        answer = 0
    elif answer is None:
        answer = expected if model.output_limit is None else min(expected, model.output_limit)
    prompt = request.analysis.prompt_tokens
    ratio = token_ratios.get(model.name)
    return prices.cost(prompt if ratio is None else round(prompt * ratio), answer * request.analysis.choices)
