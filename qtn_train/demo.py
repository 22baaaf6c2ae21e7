"""``python -m qtn_train.demo FOLDER``: an alias of the demo in ``cli``."""

import sys
from pathlib import Path

from .cli._demo import main

__all__ = ["main"]

if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("runs/demo"))
