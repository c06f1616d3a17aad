"""``python -m router_extproc`` is ``router-extproc``."""

import sys

from router_extproc.cli import main

if __name__ == "__main__":
    sys.exit(main())
