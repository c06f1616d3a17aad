"""What a request is: facts read from its body, and what it needs a model to be able to do."""

from router_extproc.analysis.code import has_code
from router_extproc.analysis.facts import read_facts
from router_extproc.analysis.needs import read_needs

__all__ = ["has_code", "read_facts", "read_needs"]
