"""How providers' APIs write requests, answers and errors: one module for each dialect, OpenAI's being the canonical one."""
