"""Keeps the processes of one instance alive and gives them their configuration; ``up`` and ``serve`` are its front doors.

Four files to read: ``supervisor`` (the life of an instance), ``child`` (one process that is kept alive), ``control``
(router.yaml → what Envoy and the workers read), ``envoy`` (the binary and its admin interface).
"""
