"""`python -m usu`, the same as the command `usu`."""

import sys

from usu.cli import main

if __name__ == "__main__":
    sys.exit(main())
