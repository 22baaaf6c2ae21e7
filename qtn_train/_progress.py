"""A progress bar for people: on a terminal, in a log file, or in a notebook."""

from __future__ import annotations

import io
import sys
from html import escape
from typing import Any

from tqdm import tqdm


def progress_bar(total: int, done: int = 0, *, unit: str, show: bool = True) -> tqdm:
    """Return a bar that is gone when it is closed.

    Args:
        total: Steps in all.
        done: Steps made before.
        unit: What a step is called.
        show: Whether it is shown at all.

    Returns:
        A tqdm bar. In a notebook it is drawn by HTML, without widgets: nothing goes to standard
        error, and the stored notebook keeps an empty output.

    Example:
        >>> with progress_bar(3, unit="step", show=False) as bar:
        ...     bar.set_postfix(loss="0.1")
    """
    options: dict[str, Any] = {"total": total, "initial": done, "unit": unit, "leave": False}
    if not show:
        return tqdm(**options, disable=True)
    if _in_notebook():
        return _NotebookBar(**options)
    # In a log file a bar is a line each time.
    seconds = 0.1 if sys.stderr.isatty() else 30.0
    return tqdm(**options, dynamic_ncols=True, mininterval=seconds)


def _in_notebook() -> bool:
    """Whether this process is a Jupyter kernel; IPython is not loaded to find that out."""
    shell = sys.modules.get("IPython")
    running = shell.get_ipython() if shell is not None and hasattr(shell, "get_ipython") else None
    return hasattr(running, "kernel")


class _NotebookBar(tqdm):  # type: ignore[misc]
    """tqdm's counting and timing, shown in one output of the cell that is updated in place.

    The output begins and ends empty, so that checks of stored outputs see the same each time.
    """

    _EMPTY = {"text/html": "", "text/plain": ""}  # noqa: RUF012 - never changed

    def __init__(self, **options: Any) -> None:
        from IPython.display import display

        self._output = display(  # type: ignore[no-untyped-call]
            self._EMPTY, raw=True, display_id=True
        )
        super().__init__(**options, file=io.StringIO(), mininterval=0.2)

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Update the output; called by tqdm when it is time."""
        if msg == "":
            self._output.update(self._EMPTY, raw=True)
            return
        figures = dict(self.format_dict)
        figures["bar_format"] = "{n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}{postfix}]"
        text = self.format_meter(**figures)
        bar = f"<progress value='{self.n}' max='{self.total}'></progress>"
        self._output.update({"text/html": f"{bar} {escape(text)}", "text/plain": text}, raw=True)
