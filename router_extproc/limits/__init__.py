"""May they spend it? Callers, budgets and limits: what is set aside, what follows when it does not fit. Pure functions."""
