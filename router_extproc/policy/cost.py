"""What one request is estimated to cost on a model, in USD."""

from __future__ import annotations

from router_extproc.registry.snapshot import Model
from router_extproc.request import CHAT_COMPLETIONS, EMBEDDINGS, Request

# When the caller sets no limit, in tokens. Answers of public chat collections average 200 to 400 (LMSYS-Chat-1M:
# https://arxiv.org/abs/2309.11998, table 1).
EXPECTED_ANSWER_TOKENS = 400

_PRICED_BY_TOKENS = (CHAT_COMPLETIONS, "/v1/completions", "/v1/responses", EMBEDDINGS)


def estimate_cost(model: Model, request: Request, expected: int = EXPECTED_ANSWER_TOKENS) -> float | None:
    """The prompt's estimated tokens and the caller's own limit for each answer, at list prices; None without a price.

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
    return prices.cost(request.analysis.prompt_tokens, answer * request.analysis.choices)
