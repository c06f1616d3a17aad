"""An explanation as tables for a terminal: the request, who asks, the rules, every candidate, the chain, the prices."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from router_extproc.caller import Caller
from router_extproc.decision import Attempt, Candidate, Decision
from router_extproc.outlook import Rehearsal
from router_extproc.policy.explanation import Explanation
from router_extproc.registry.snapshot import Tier

# Of what is not a terminal: wide enough that no reason is cut.
_PLAIN_WIDTH = 160


def print_explanation(explanation: Explanation, console: Console | None = None) -> None:
    """Prints the explanation; to anything but a terminal without colours and 160 columns wide."""
    if console is None:
        console = Console()
        if not console.is_terminal:
            console = Console(width=_PLAIN_WIDTH, color_system=None)
    for part in _parts(explanation):
        console.print(part)
    if explanation.admission is not None:
        _print_admission(explanation.admission, console)
    if explanation.prices:
        console.print(_prices(explanation))
    if explanation.refusal is not None:
        refusal = explanation.refusal
        console.print(Text(f"Refused with {refusal.status} {refusal.code or ''}: {refusal.message}", style="bold red"))


def _parts(explanation: Explanation) -> Iterator[Table]:
    """What is known of the request and its decision, in the order in which it was found out."""
    yield _request(explanation)
    if explanation.caller is not None:
        yield _caller(explanation.caller)
    if explanation.signals:
        yield _signals(explanation)
    if explanation.rules:
        yield _rules(explanation)
    if explanation.candidates:
        yield _candidates(explanation)
    if explanation.decision is not None:
        yield _chains(explanation.decision)
        yield _outcome(explanation.decision)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _request(explanation: Explanation) -> Table:
    facts = explanation.facts
    table = _table("Request", "fact", "value")
    limit = explanation.max_output_tokens
    for name, value in (
        ("path", explanation.path),
        ("model", explanation.model or "none"),
        ("route", explanation.route or "none"),
        ("stream", _word(yes=explanation.stream)),
        ("prompt tokens", f"about {facts.prompt_tokens}"),
        ("answer limit", "none" if limit is None else f"{limit} tokens"),
        ("needs", ", ".join(explanation.needs) or "nothing special"),
        ("code", _known(facts.has_code)),
        ("tools", _word(yes=facts.has_tools)),
        ("images", str(facts.images)),
        ("turn", _known(facts.turn)),
        ("language", _known(facts.language)),
        ("task", _known(facts.task)),
        ("risk", _known(facts.risk)),
        ("complexity", "not known" if facts.complexity is None else f"{facts.complexity} of 10"),
        ("good enough", _adequacy(facts.adequacy)),
        ("unsure", ", ".join(facts.unsure) or "no"),
        ("injection", "not known" if facts.injection is None else f"{facts.injection:.2f}"),
    ):
        table.add_row(name, value)
    return table


def _caller(caller: Caller) -> Table:
    table = _table("\nCaller", "of", "value")
    tags = ", ".join(f"{name}={value}" for name, value in caller.tags.items())
    proved = {"tenant": caller.tenant, "team": caller.team, "user": caller.user, "key": caller.key, "tier": caller.tier}
    for name, value in {**proved, "features": ", ".join(caller.features), "tags": tags}.items():
        if value:
            table.add_row(name, value)
    table.add_row("priority", caller.priority)
    for field, allowed in msgspec.structs.asdict(caller.permissions).items():
        if allowed is not None:
            name = field.replace("_", " ")
            table.add_row(f"may use {name}" if isinstance(allowed, tuple) else name, _allowed(allowed))
    return table


def _allowed(allowed: tuple[str, ...] | int) -> str:
    return str(allowed) if isinstance(allowed, int) else ", ".join(allowed) or "none"


def _signals(explanation: Explanation) -> Table:
    table = _table("\nFound out", "signal", "milliseconds", "value")
    for signal in explanation.signals:
        value = "" if signal.value is None else msgspec.json.encode(signal.value).decode()
        table.add_row(signal.name, f"{signal.milliseconds:.3f}", value)
    return table


def _adequacy(adequacy: tuple[float, float, float] | None) -> str:
    if adequacy is None:
        return "not known"
    return ", ".join(f"{tier.label} {enough:.2f}" for tier, enough in zip(Tier, adequacy, strict=True))


def _known(value: object) -> str:
    if isinstance(value, bool):
        return _word(yes=value)
    return "not known" if value is None else str(value)


def _rules(explanation: Explanation) -> Table:
    table = _table("\nRules", "rule", "outcome")
    for rule in explanation.rules:
        table.add_row(rule.name, "applies" if rule.unmet is None else f"passed over: {rule.unmet}")
    return table


def _candidates(explanation: Explanation) -> Table:
    table = _table("\nCandidates", "deployment", "model", "tier", "cost (USD)", "first byte (ms)", "outcome")
    for candidate in explanation.candidates:
        table.add_row(
            candidate.deployment,
            candidate.model,
            candidate.tier,
            _cost_of(candidate),
            "unknown" if candidate.time_to_first_byte_ms is None else f"{candidate.time_to_first_byte_ms:.0f}",
            _outcome_of(candidate),
        )
    return table


def _cost_of(candidate: Candidate) -> str:
    cost, ratio = _cost(candidate.estimated_cost_usd), candidate.token_ratio
    return cost if ratio is None else f"{cost} (prompt x {ratio:g})"


def _outcome_of(candidate: Candidate) -> str | Text:
    if candidate.rejected is not None:
        return Text(f"falls: {candidate.rejected}", style="yellow")
    seconds = candidate.quota_resets_in_seconds
    return "stays" if seconds is None else f"stays, after all that have room: quota used up for {seconds:.1f} s more"


def _chains(decision: Decision) -> Table:
    table = _table("\nChain", "after", "attempt", "deployment", "model", "provider's model", "tier", "level")
    _add_attempts(table, "", decision.chain)
    for cause, chain in decision.cause_chains.items():
        _add_attempts(table, cause, chain)
    return table


def _add_attempts(table: Table, cause: str, chain: tuple[Attempt, ...]) -> None:
    for number, attempt in enumerate(chain, start=1):
        provider_model = attempt.provider_model or "as sent"
        table.add_row(
            cause if number == 1 else "",
            str(number),
            attempt.deployment,
            attempt.model,
            provider_model,
            attempt.tier,
            attempt.level,
        )


def _outcome(decision: Decision) -> Table:
    table = _table("\nDecision", "part", "value")
    rows = [
        ("reason", decision.reason),
        ("estimated cost", f"{_cost(decision.estimated_cost_usd)} USD for the first attempt"),
        ("deadline", f"{decision.deadline_ms} ms"),
        ("attempt timeout", "the deadline" if decision.attempt_timeout_ms is None else f"{decision.attempt_timeout_ms} ms"),
        ("first token", "not bounded" if decision.first_token_timeout_ms is None else f"{decision.first_token_timeout_ms} ms"),
        ("probes", decision.half_open or "nothing"),
        ("degraded", decision.degraded or "no"),
    ]
    for row in rows:
        table.add_row(*row)
    return table


def _print_admission(admission: Rehearsal, console: Console) -> None:
    known = "" if admission.levels_known else ", as if nothing were used: no instance says how much is"
    table = _table(f"\nBudgets{known}", "budget", "scope", "unit", "cap", "settled", "reserved", "wanted", "outcome")
    for one in admission.budgets:
        figures = (one.cap, one.settled, one.reserved, one.wanted)
        cells = ("unknown" if figure is None else str(figure) for figure in figures)
        outcome = one.outcome if one.mode == "enforce" else f"{one.outcome} ({one.mode})"
        table.add_row(one.name, one.scope, one.unit, *cells, Text(outcome, style="" if one.outcome == "fits" else "yellow"))
    console.print(table)
    refusal = admission.refusal
    if refusal is not None:
        when = "" if refusal.retry_after is None else f" (retry after {refusal.retry_after} s)"
        console.print(Text(f"Refused with {refusal.status} {refusal.code or ''}: {refusal.message}{when}", style="bold red"))
        return
    after = _table("\nAfter budgets", "part", "value")
    after.add_row("what budgets change", ", ".join(admission.reasons) or "nothing")
    after.add_row("places", ", ".join(admission.chain))
    for deployment, why in admission.closed.items():
        after.add_row("left out", f"{deployment}: {why}")
    if admission.max_output_tokens is not None:
        after.add_row("answer limit", f"{admission.max_output_tokens} tokens, written into the request")
    console.print(after)


def _prices(explanation: Explanation) -> Table:
    table = _table("\nPrices", "model", "input (USD per million tokens)", "output", "source")
    for price in explanation.prices:
        table.add_row(price.model, f"{price.input:g}", f"{price.output:g}", price.source)
    return table


def _cost(cost: float | None) -> str:
    return "unknown" if cost is None else f"{cost:.6f}"


def _word(*, yes: bool) -> str:
    return "yes" if yes else "no"
