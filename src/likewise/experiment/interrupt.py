"""Ctrl-C lets the step under way finish, and the run is left ready to be resumed."""

import signal
import threading
from typing import Any

from likewise.training.loop import Callback, State

__all__ = ["INTERRUPTED", "interruptible", "stop_when_asked"]

INTERRUPTED = "interrupted"


class interruptible:  # noqa: N801 (used as `with interruptible() as asked`)
    """Inside, Ctrl-C sets the event that lets the step under way finish; a second one ends at once."""

    def __enter__(self) -> threading.Event:
        self.asked, self.main = threading.Event(), threading.current_thread() is threading.main_thread()
        if self.main:
            self.before = signal.signal(signal.SIGINT, self.ask)
        return self.asked

    def __exit__(self, *error: object) -> None:
        if self.main:
            signal.signal(signal.SIGINT, self.before)

    def ask(self, number: int, frame: Any) -> None:
        if self.asked.is_set():
            raise KeyboardInterrupt
        self.asked.set()


def stop_when_asked(asked: threading.Event) -> Callback:
    def call(state: State) -> None:
        if asked.is_set() and state.progress < 1:
            state.stop = INTERRUPTED

    return call
