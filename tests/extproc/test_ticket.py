"""What travels with a request through Envoy beside its decision."""

from __future__ import annotations

from router_extproc.account import Account, Held, decode_account
from router_extproc.caller import NOBODY, Caller
from router_extproc.decision import Attempt, Decision
from router_extproc.extproc.case import Admitted
from router_extproc.extproc.ticket import _KEPT, TicketOffice, of_this_admission
from router_extproc.limits.ladder import Figure, Figures
from tests.extproc.conversation import metadata

DECISION = Decision("small", "named", (Attempt("p/small", "small", "small", "economy"),))
ACCOUNT = Account("id-1", held=(Held("usd:day", "usd", 0, 0, 7, 86_400),), tenant="acme", tags={"a": "é"})


def test_what_was_admitted_is_told_as_texts() -> None:
    """Envoy writes them into headers and log as they are; the account can be read back."""
    figures = Figures(requests=Figure(5, 4, 60), remaining_micro_usd=1_500_000)
    admitted = Admitted(DECISION, ACCOUNT, figures=figures, degraded=True)
    told = of_this_admission(admitted, usage_injected=True)
    assert decode_account(told.pop("account")) == ACCOUNT
    assert told == {
        "budget_remaining": "1.500000",
        "degraded": "store-unavailable",
        "usage_injected": "1",
        "x-ratelimit-limit-requests": "5",
        "x-ratelimit-remaining-requests": "4",
        "x-ratelimit-reset-requests": "1m0s",
    }


def test_what_does_not_apply_is_not_told() -> None:
    """No header says that nothing is limited, and whatever else makes an answer less stays said."""
    assert of_this_admission(Admitted(DECISION, ACCOUNT), usage_injected=False).keys() == {"account"}
    cooling = Admitted(Decision("r", "named", DECISION.chain, degraded="all-cooling-down"), ACCOUNT, degraded=True)
    assert of_this_admission(cooling, usage_injected=False)["degraded"] == "all-cooling-down,store-unavailable"


def test_callers_are_told_apart_whatever_is_kept_of_them() -> None:
    """Tags and features included, however many callers there are; nobody is nobody."""
    office = TicketOffice()
    for number in range(_KEPT + 2):
        for tags in ({}, {"n": str(number)}):
            told = metadata(office.encode_caller(Caller(tenant=f"t{number}", features=("f",), tags=tags)))["router.caller"]
            assert (told["tenant"], told["features"], told["tags"]) == (f"t{number}", ["f"], tags)
    assert len(office._callers) == _KEPT
    assert office.encode_caller(NOBODY) == b""


def test_who_is_asked_for_usage_is_told_where_it_is_not_everybody() -> None:
    """Then later attempts have to look at their body; what was kept for an equal decision without that is not taken for it."""
    office = TicketOffice()
    plain = metadata(office.encode(DECISION))["router"]
    assert not {"rename", "usage_wishes"} & plain.keys()
    told = metadata(office.encode(DECISION, usage_wishes={"p/small": False, "q/small": True}))["router"]
    assert told == plain | {"rename": "1", "usage_wishes": {"p/small": False, "q/small": True}}
    assert metadata(office.encode(DECISION))["router"] == plain
