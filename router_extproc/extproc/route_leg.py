"""The route leg: one conversation for each request, from its headers and body to a ticket.

Envoy sends headers and body without waiting. The header message is answered only once the whole body is here, together
with the body: one exchange. The body is the client's own but for what was decided: ``model``, and where money or tokens are
counted what ``body_edits`` lists.

The leg itself never waits. ``begin`` reads, asks who calls and decides; ``finish`` makes the answers. Where something has to
be set aside, ``admission`` does so between the two.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar

import msgspec
from envoy.service.ext_proc.v3.external_processor_pb2 import ProcessingRequest
from msgspec.structs import replace

from router_extproc.caller import NOBODY
from router_extproc.decision import NO_CONSTRAINTS, Constraints, Decision
from router_extproc.dialects import openai
from router_extproc.errors import RequestError
from router_extproc.extproc.body_edits import Outgoing, outgoing_body
from router_extproc.extproc.callers import NOBODY_ASKED, Identify
from router_extproc.extproc.case import Admitted
from router_extproc.extproc.deadline import DeadlinePassedError, Guard, unguarded
from router_extproc.extproc.limit_headers import refusal_headers
from router_extproc.extproc.live import View
from router_extproc.extproc.messages import (
    REQUEST_BODY_UNCHANGED,
    TICKET_NAMESPACE,
    encode_immediate,
    encode_metadata,
    headers_of,
    with_replaced_body,
)
from router_extproc.extproc.ticket import TicketOffice, of_this_admission
from router_extproc.facts import Signal
from router_extproc.limits.ladder import Figures
from router_extproc.limits.permissions import visible_names
from router_extproc.outlook import Rehearsal
from router_extproc.policy.explanation import Explanation
from router_extproc.registry.health import HALF_OPEN, DeploymentHealth
from router_extproc.request import Request
from router_extproc.router import Situation

# The prefix by which Envoy's configuration knows that an error body is ours and must not be rewritten.
DETAILS_PREFIX = "router_"
# What a switch in a header may say when it is off.
_NO = frozenset({"", "0", "false", "no", "off"})
_LONGEST_SHOWN = 200
# A body must be read whatever it takes: time for one byte of it is added to the time for its analysis. 20 ms for a mebibyte
# is several times what reading takes.
_READING_SECONDS = 0.02 / (1 << 20)
# It works out every fact, not only those that a decision asks for.
_PATIENCE_OF_EXPLAIN = 10

NO_FIGURES = Figures()
_AS_IT_IS = Outgoing()

_Result = TypeVar("_Result")


class Bookings(Protocol):
    """What a decision must claim for itself before it may be sent."""

    def claim(self, probe: str) -> bool:
        """True when this caller, of all workers, owns the probe."""


class Outcome(msgspec.Struct):
    """What became of one request, for the worker's counters.

    ``refused`` is an error's code, or None. ``signals`` are what was found out about the request. ``is_cut_short`` says that
    its analysis was interrupted at the deadline.
    """

    decided: bool = False
    refused: str | None = None
    seconds: float = 0.0
    signals: tuple[Signal, ...] = ()
    is_cut_short: bool = False


class Begun(msgspec.Struct, frozen=True):
    """A request that was read and decided; ``body`` is the client's own."""

    request: Request
    decision: Decision
    body: bytes


class DryRun(msgspec.Struct, frozen=True):
    """A request that only wants to be told what would become of it; ``explanation`` is the router's part."""

    request: Request
    explanation: Explanation
    body: bytes


class RouteLeg:
    """The conversation about one request; ``view`` is what it sees until the end, ``guard`` ends an analysis that hangs."""

    def __init__(
        self,
        view: View,
        office: TicketOffice,
        bookings: Bookings,
        *,
        draw: int,
        guard: Guard = unguarded,
        callers: Identify = NOBODY_ASKED,
    ) -> None:
        self.view = view
        self._office, self._bookings, self._draw, self._guard, self._callers = office, bookings, draw, guard, callers
        self._headers: Mapping[str, str] = {}
        self._pieces: list[bytes] = []
        self._body_bytes = 0
        self._requested = ""
        self._request: Request | None = None
        self._caller = NOBODY
        self.outcome = Outcome()

    def headers(self, message: ProcessingRequest) -> bool:
        """Takes the header message. True when a body follows, whose size ``body_size`` announces."""
        self._headers = headers_of(message.request_headers)
        return not message.request_headers.end_of_stream

    @property
    def body_size(self) -> int:
        """Bytes of the body to come, as Envoy counted them after buffering it; 0 when unknown."""
        announced = self._headers.get("content-length", "")
        return int(announced) if announced.isdecimal() else 0

    def body(self, message: ProcessingRequest) -> bool:
        """Takes one piece of the body. True when it was the last."""
        self._pieces.append(message.request_body.body)
        return bool(message.request_body.end_of_stream)

    def answer(self) -> list[bytes]:
        """The messages that end the conversation, once everything was taken, where nothing has to be set aside."""
        begun = self.begin()
        if isinstance(begun, DryRun):
            return self.tell(begun)
        return self.finish(begun) if isinstance(begun, Begun) else begun

    def begin(self) -> Begun | DryRun | list[bytes]:
        """The decision, what is to be told of one, or the messages that end the conversation without one."""
        started = time.perf_counter()
        try:
            return self._begin()
        except RequestError as error:
            return self.refuse(error)
        finally:
            self.outcome.seconds += time.perf_counter() - started

    def finish(self, begun: Begun, admitted: Admitted | None = None) -> list[bytes]:
        """The messages that let the request go where it was decided, or as it was admitted in the end."""
        started = time.perf_counter()
        try:
            return self._finish(begun, admitted)
        except RequestError as error:
            return self.refuse(error)
        finally:
            self._end()
            self.outcome.seconds += time.perf_counter() - started

    def tell(self, asked: DryRun, rehearsal: Rehearsal | None = None) -> list[bytes]:
        """The message that answers a dry run; ``rehearsal`` is what budgets would make of the decision."""
        document = msgspec.json.encode(replace(asked.explanation, admission=rehearsal))
        return self._ended(self._immediate(200, document, "dry-run"))

    def foresee(self, request: Request, constraints: Constraints) -> Decision:
        """What ``decide`` would decide, without claiming anything.

        Raises:
            RequestError: nothing may serve it under these constraints.
        """
        return self._decide_in_time(request, replace(self._situation(), constraints=constraints))

    def refuse(self, error: RequestError, figures: Figures = NO_FIGURES, budget: str = "") -> list[bytes]:
        """The message that ends the conversation with an error; ``figures`` are the limits that it met, ``budget`` names the
        one that refused, for the logs.
        """
        self.outcome.decided, self.outcome.refused = False, error.code or error.reason
        headers = refusal_headers(error, figures)
        more = {"refused": error.code or ""} | ({"refused_by": budget} if budget else {})
        answer = self._immediate(error.status, openai.write_error(error), error.reason, headers, **more)
        self._end()
        return [answer]

    def decide(self, request: Request, constraints: Constraints = NO_CONSTRAINTS) -> Decision:
        """Decides, and claims what the decision needs; when another worker was first, decides again without it.

        Raises:
            RequestError: nothing may serve it under these constraints.
        """
        health, ratios = self.view.health.deployments, self.view.health.token_ratios
        now = time.time()
        decision = self._decide_in_time(request, Situation(health, self._draw, now, ratios, constraints))
        while decision.half_open is not None:
            probed = health[decision.half_open]
            if probed.probe is None or self._bookings.claim(probed.probe):
                break
            health = {**health, decision.half_open: DeploymentHealth(state=HALF_OPEN, open_until=probed.open_until)}
            decision = self._decide_in_time(request, Situation(health, self._draw, now, ratios, constraints))
        return decision

    def _begin(self) -> Begun | DryRun | list[bytes]:
        headers = self._headers
        self._caller = self._callers.identify(headers, self.view.registry.spending, time.time())
        method, path = headers[":method"], headers[":path"].partition("?")[0]
        if method == "GET" and (path == "/v1/models" or path.startswith("/v1/models/")):
            return self._ended(self._models(path))
        body = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._body_bytes = len(body)
        request = self.view.router.read(method, path, headers, body)
        self._request = request = request if self._caller is NOBODY else replace(request, caller=self._caller)
        self._requested = request.model
        if headers.get("x-router-dry-run", "").lower() not in _NO:
            return DryRun(request, self._explain(request), body)
        return Begun(request, self.decide(request), body)

    def _finish(self, begun: Begun, admitted: Admitted | None) -> list[bytes]:
        request, body = begun.request, begun.body
        decision = begun.decision if admitted is None else admitted.decision
        self.outcome.decided, self.outcome.signals = True, decision.signals
        outgoing = outgoing_body(request, body, decision, admitted, self.view.registry) if body else _AS_IT_IS
        if admitted is None:
            ticket = self._office.encode(decision)
        else:
            own = of_this_admission(admitted, usage_injected=outgoing.usage_injected)
            ticket = self._office.encode(decision, own, outgoing.usage_wishes)
        ticket += self._office.encode_caller(self._caller)
        if outgoing.body is not None:
            return [with_replaced_body(ticket, outgoing.body)]
        return [ticket, *[REQUEST_BODY_UNCHANGED] * len(self._pieces)]

    def _ended(self, answer: bytes) -> list[bytes]:
        self._end()
        return [answer]

    def _end(self) -> None:
        """Keeps what the counters want to know, and lets go of the rest."""
        if self._request is not None:
            self.outcome.signals = self.outcome.signals or self._request.analysis.signals()
            self.outcome.is_cut_short = self._request.analysis.is_cut_short
        # Sending may take a while, and a large body is now held by the answer.
        self._request = None
        self._pieces.clear()

    def _decide_in_time(self, request: Request, situation: Situation) -> Decision:
        return self._in_time(request, lambda: self.view.router.decide(request, situation))

    def _in_time(self, request: Request, work: Callable[[], _Result], patience: int = 1) -> _Result:
        """The work, and once more without analysis when that did not end in time, ``patience`` times the deadline."""
        seconds = self.view.registry.analysis.deadline_ms / 1_000 * patience + self._body_bytes * _READING_SECONDS
        try:
            return self._guard(work, seconds)
        except DeadlinePassedError:
            request.analysis.cut_short()
            return work()

    def _models(self, path: str) -> bytes:
        registry = self.view.registry
        name = path.removeprefix("/v1/models").removeprefix("/")
        visible = None if self._caller is NOBODY else self._visible_names()
        body = openai.write_model(registry, name, visible) if name else openai.write_models(registry, visible)
        return self._immediate(200, body, "models")

    def _visible_names(self) -> frozenset[str]:
        registry = self.view.registry
        return frozenset(visible_names(self._caller.permissions, openai.model_names(registry), registry))

    def _explain(self, request: Request) -> Explanation:
        situation = self._situation()
        return self._in_time(request, lambda: self.view.router.explain(request, situation), _PATIENCE_OF_EXPLAIN)

    def _situation(self) -> Situation:
        health = self.view.health
        return Situation(health.deployments, self._draw, time.time(), health.token_ratios)

    def _immediate(self, status: int, body: bytes, reason: str, headers: dict[str, str] | None = None, **more: str) -> bytes:
        """An answer of our own. Its ticket has no chain: it tells the log, and the headers, what was asked and why."""
        ticket = {"reason": reason, "requested": self._requested[:_LONGEST_SHOWN], **more}
        route = self.view.router.route_of(self._requested) if self._requested else None
        shown = {"x-router-decision": self._headers.get("x-request-id", ""), "x-router-reason": reason, **(headers or {})}
        if route is not None:
            ticket["route"] = route
            # Envoy adds it to answers of its routes, and has none that calls somebody where undecided requests are refused.
            shown["x-router-route"] = route
        details = DETAILS_PREFIX + reason.replace("-", "_").replace(" ", "_")
        said = encode_metadata(TICKET_NAMESPACE, ticket) + self._office.encode_caller(self._caller)
        return said + encode_immediate(status, body, shown, details)
