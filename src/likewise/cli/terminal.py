"""Filter of all terminal output: untrusted ids and class names may contain escape sequences.

Control characters, C1 codes, changes of writing direction and lone surrogates are printed as `\\u001b`: visible,
harmless, and equivalent inside JSON. Characters missing from the terminal's encoding are printed in the same way.
"""

import re
import sys
import textwrap
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TextIO

__all__ = ["plain", "plain_output", "raw", "wrapped"]

WIDTH = 80

HARMFUL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def spelled(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"


def plain(text: str) -> str:
    """Escape every control sequence in the text; line ends and tabs stay."""
    return HARMFUL.sub(spelled, text)


def wrapped(text: str | None) -> list[str]:
    """A sentence as lines of at most 80 characters; a path is never broken."""
    return textwrap.wrap(text or "", WIDTH, break_long_words=False, break_on_hyphens=False)


class Plain:
    """A text stream that writes `plain` text to another; returns: whether a carriage return passes (progress bars)."""

    def __init__(self, stream: TextIO, *, returns: bool):
        self.stream, self.returns = stream, returns

    def write(self, text: str) -> int:
        safe = "\r".join(map(plain, text.split("\r"))) if self.returns else plain(text)
        try:
            self.stream.write(safe)
        except UnicodeEncodeError:
            self.stream.write("".join(c if c.isascii() else f"\\u{ord(c):04x}" for c in safe))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> object:
        return getattr(self.stream, name)


def raw(stream: "TextIO | Plain") -> TextIO:
    """The wrapped stream, for progress bars, which print no text of a file."""
    return stream.stream if isinstance(stream, Plain) else stream


@contextmanager
def plain_output() -> Iterator[None]:
    """Inside, all output to stdout and stderr is `plain`."""
    before = sys.stdout, sys.stderr
    sys.stdout = Plain(raw(sys.stdout), returns=False)
    sys.stderr = Plain(raw(sys.stderr), returns=True)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
