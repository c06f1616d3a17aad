"""What a request wants of code: that it be written, explained or mended. English words only; others give None.

The first verb that speaks of code decides, but for complaints: what is broken is to be mended, however that is asked.
"""

from __future__ import annotations

import re
from typing import Literal

Intent = Literal["write", "explain", "fix"]

_FIX = (
    r"fix\w*|debug\w*|repair|bugs?|not work\w*|n't work\w*|crash\w*|segfaults?|segmentation fault|traceback"
    r"|stack trace|compile errors?|broken"
    r"|failing|fails?|failed|(?:throw|rais|giv|gett?)(?:s|es|ing)? (?:me )?(?:an? |the |this )?(?:\w+ )?(?:error"
    r"|exception|warning|nullpointer\w*)"
    r"|correct (?:the|this|my) (?:code|error|function|query|syntax)|wrong (?:with|here|output|result)|keeps? \w+ing"
    r"|won't (?:compile|run|start|build)"
    r"|(?:get|getting) (?:an? |this )?\w*(?:error|exception)|what should i check|hangs"
)
_ORDER = (
    r"write|implement|create|generate|build|make|develop|code (?:up|me|an?)|convert|port|translate|rewrite|refactor|add"
    r"|give me|show me|provide|design|scaffold|set up|complete the|finish the|optimi[sz]e|need (?:an?|some)|want (?:an?|some)"
)
_WRITE = rf"{_ORDER}|how (?:do|can|would|should) (?:i|you|we|one)|how to"
_EXPLAIN = (
    r"explain|what(?:'s| is| does| do| are)|how (?:does|do|is|are|come)|why (?:does|do|is|are|would)|describe"
    r"|walk (?:me )?through|understand|meaning of"
    r"|difference between|tell me (?:what|how|about)|summari[sz]e|interpret|review|comment on|when should"
)
_verb = re.compile(rf"\b(?:(?P<write>{_WRITE})|(?P<explain>{_EXPLAIN}))(?!\w)", re.IGNORECASE)
_complaint = re.compile(rf"(?:\b|(?<=\w)(?=n't))(?:{_FIX})(?!\w)", re.IGNORECASE)
# "Write a parser that fails on bad input" is no complaint: an order stands at the beginning of a sentence.
_POLITE = r"(?:please |(?:can|could|would) you (?:please )?|help me (?:to )?|i (?:need|want) (?:you )?to )?"
_order = re.compile(rf"(?:^|[.!?:;\n]\s*){_POLITE}(?:{_ORDER})(?!\w)", re.IGNORECASE)
_TRACEBACK = "Traceback (most recent call last)"


def read_intent(text: str, prose: str) -> Intent | None:
    """The intent of a text, of which ``prose`` is what does not stand in fences; None where no verb speaks of one."""
    if _TRACEBACK in text:
        return "fix"
    order, complaint = _order.search(prose), _complaint.search(prose)
    if complaint is not None and (order is None or complaint.start() < order.start()):
        return "fix"
    verb = _verb.search(prose)
    if verb is None:
        return None
    return "write" if verb.lastgroup == "write" else "explain"
