"""The console, and what is logged on it; without torch, because Hydra needs it before it shows its help."""

import logging

from rich.console import Console
from rich.text import Text

console = Console(stderr=True)
if not console.is_terminal:
    console.width = 10_000  # a file or a pipe has no width of its own


class ConsoleHandler(logging.Handler):
    """Log records on the console, above the bars; `conf/hydra/job_logging` names it."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record: the bare message, with its level where it is a warning or worse."""
        try:
            cell = getattr(record, "folder", None)  # what is told of one, where that is asked for
            text = Text(f"{cell.name}: " if cell else "") + Text(self.format(record))
            if record.levelno >= logging.WARNING:
                style = "yellow" if record.levelno == logging.WARNING else "red"
                text = Text(f"{record.levelname.lower()}: ", style=style) + text
            console.print(text, soft_wrap=True)
        except Exception:
            self.handleError(record)
