"""May they spend it? Callers, budgets and limits: what is set aside, what follows when it does not fit. Pure functions.

To read first: ``identity`` (who calls), ``claims`` (what a decided request wants of which counters), ``ladder`` (what follows
from the store's answer). ``bound`` says how much a request may cost at the most, ``windows`` since when something counts.
"""
