"""OpenAI's refusals, worded and shaped as its API words and shapes them (platform.openai.com/docs/guides/error-codes)."""

from __future__ import annotations

import msgspec

from router_extproc.simulator.answers import JSON, PlainAnswer

_GATEWAY_PAGE = (
    "<html>\r\n<head><title>{status} {phrase}</title></head>\r\n<body>\r\n<center><h1>{status} {phrase}</h1></center>\r\n"
    "<hr><center>cloudflare</center>\r\n</body>\r\n</html>\r\n"
)
# These two come from the proxy in front of the API, so their body is a page and not JSON.
_GATEWAY_PHRASES = {502: "Bad Gateway", 504: "Gateway Time-out"}

_INVALID = "invalid_request_error"
_SERVER = "server_error"
_KNOWN = {
    400: ("Invalid request.", _INVALID, None),
    401: (
        "Incorrect API key provided. You can find your API key at https://platform.openai.com/account/api-keys.",
        _INVALID,
        "invalid_api_key",
    ),
    403: ("You are not allowed to use this resource.", _INVALID, "permission_denied"),
    404: ("The resource does not exist.", _INVALID, "not_found"),
    408: ("The request timed out.", _SERVER, "timeout"),
    413: ("The request body is too large.", _INVALID, "request_too_large"),
    429: ("Rate limit reached for requests. Please try again later.", "requests", "rate_limit_exceeded"),
    500: ("The server had an error while processing your request. Sorry about that!", _SERVER, None),
    503: ("The engine is currently overloaded, please try again later.", _SERVER, None),
}


class Refusal(Exception):  # noqa: N818 -- it is an answer, not a mistake of the simulator
    """The provider says no; ``answer`` is what it says."""

    def __init__(
        self,
        status: int,
        message: str | None = None,
        *,
        type: str | None = None,  # noqa: A002 -- OpenAI's name for it
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        known_message, known_type, known_code = _KNOWN.get(status, _KNOWN[500 if status >= 500 else 400])  # noqa: PLR2004
        super().__init__(message or known_message)
        headers = headers or {}
        if message is None and status in _GATEWAY_PHRASES:
            page = _GATEWAY_PAGE.format(status=status, phrase=_GATEWAY_PHRASES[status]).encode()
            self.answer = PlainAnswer(status=status, body=page, content_type="text/html", headers=tuple(headers.items()))
            return
        error = {"message": message or known_message, "type": type or known_type, "param": param, "code": code or known_code}
        self.answer = PlainAnswer(
            status=status,
            body=msgspec.json.format(msgspec.json.encode({"error": error}), indent=2),
            content_type=JSON,
            headers=tuple(headers.items()),
        )


def invalid(message: str, *, param: str | None = None, code: str | None = None) -> Refusal:
    """Return the 400 for a request that breaks a rule of the API."""
    return Refusal(400, message, type=_INVALID, param=param, code=code)


def model_not_found(model: str) -> Refusal:
    """Return the 404 for a model id that this deployment does not serve."""
    message = f"The model `{model}` does not exist or you do not have access to it."
    return Refusal(404, message, type=_INVALID, code="model_not_found")


def context_length_exceeded(window: int, prompt_tokens: int, completion_tokens: int) -> Refusal:
    """Return the 400 for a prompt that does not fit, alone or together with the answer it asks for."""
    if completion_tokens:
        asked = (
            f"you requested {prompt_tokens + completion_tokens} tokens ({prompt_tokens} in the messages, "
            f"{completion_tokens} in the completion). Please reduce the length of the messages or completion."
        )
    else:
        asked = f"your messages resulted in {prompt_tokens} tokens. Please reduce the length of the messages."
    message = f"This model's maximum context length is {window} tokens. However, {asked}"
    return invalid(message, param="messages", code="context_length_exceeded")
