"""How processes say what they do: structured logs, one JSON object a line, and what each worker counts."""
