"""The command line, the demo, and the entry of a hybrid job."""

from ._app import main

__all__ = ["main"]
