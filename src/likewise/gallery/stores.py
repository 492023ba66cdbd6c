"""The store of a gallery: an SQLite file by its path, or PostgreSQL by a URL."""

import os

from likewise.extras import install_line
from likewise.gallery.address import FORM, URL, parse
from likewise.gallery.sqlite import SqliteStore
from likewise.gallery.store import SqlStore

__all__ = ["open_store"]


def open_store(path: str | os.PathLike, *, create: bool = False) -> SqlStore:
    """The store of a gallery, or a new one. Errors: ValueError; ModuleNotFoundError where psycopg is not installed."""
    text = os.fspath(path)
    if not isinstance(text, str) or not (match := URL.match(text)):
        return SqliteStore(path, create=create)
    if match[1].lower() not in ("postgresql", "postgres"):
        raise ValueError(f"a gallery is a file or {FORM}; got a URL of {match[1]}")
    address = parse(text)
    try:
        from likewise.gallery.postgres import PostgresStore
    except ImportError as error:
        raise ModuleNotFoundError(
            f"a gallery in PostgreSQL needs {(error.name or 'psycopg').partition('.')[0]}, which is not installed; "
            f"run: {install_line('gallery')}"
        ) from None
    return PostgresStore(address, create=create)
