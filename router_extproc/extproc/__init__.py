"""The ext_proc service: legs are conversations that take messages and return messages; only ``server`` knows gRPC."""
