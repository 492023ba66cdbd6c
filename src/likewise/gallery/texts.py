"""Text that either store can hold."""

import re

__all__ = ["LONGEST_NAME", "LONGEST_TEXT", "storable"]

LONGEST_TEXT = 1 << 20  # bytes of a group, path or metadata
LONGEST_NAME = 800  # bytes of an id, content or label: three fit into a key of PostgreSQL's indexes
BROKEN = re.compile("[\0\ud800-\udfff]")  # what PostgreSQL, or UTF-8, has not


def storable(text: str, what: str, most: int) -> str:
    """The text. Errors: ValueError where it is too long, or holds what a store cannot."""
    if BROKEN.search(text) or len(text.encode()) > most:
        raise ValueError(
            f"{what} is text of at most {most:,} bytes without NUL characters and halves of surrogate pairs; "
            f"got {text[:40]!r}"
        )
    return text
