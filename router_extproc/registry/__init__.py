"""Models, deployments, prices and live health: compiled from ``router.yaml`` once, read by every decider.

Nothing is imported here: a worker reads ``snapshot`` and ``health`` and must not load the compiler with them.
"""
