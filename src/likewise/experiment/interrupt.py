"""Ctrl-C, SIGTERM and SIGHUP let the current step finish and leave the run ready to be resumed."""

import signal
import threading

from likewise import distributed
from likewise.training.loop import Callback, State

__all__ = ["INTERRUPTED", "interruptible", "stop_when_asked"]

INTERRUPTED = "interrupted"
SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class interruptible:  # noqa: N801 (used as `with interruptible() as asked`)
    """Inside, Ctrl-C, SIGTERM or SIGHUP sets the event that lets the current step finish; a second one ends at once."""

    def __enter__(self) -> threading.Event:
        self.asked, self.main = threading.Event(), threading.current_thread() is threading.main_thread()
        if self.main:
            self.before = {number: signal.signal(number, self.ask) for number in SIGNALS}
        return self.asked

    def __exit__(self, *error: object) -> None:
        if self.main:
            for number, handler in self.before.items():
                signal.signal(number, handler)

    def ask(self, number: int, frame: object) -> None:
        if self.asked.is_set():
            raise KeyboardInterrupt
        self.asked.set()


def stop_when_asked(asked: threading.Event) -> Callback:
    """Stop where any process was asked to."""

    def call(state: State) -> None:
        if state.progress < 1 and distributed.any_rank(asked.is_set()):
            state.stop = INTERRUPTED

    return call
