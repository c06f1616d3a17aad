"""Where a request should go: names, rules, filters, strategies, health and the chain, all of it pure functions."""
