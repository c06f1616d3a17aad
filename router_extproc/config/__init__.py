"""``router.yaml``: its schema, reading it with errors that name file, line and key, and where an instance keeps its state.

Nothing is imported here: a worker reads ``state`` and must not load the schema, pydantic or YAML with it.
"""
