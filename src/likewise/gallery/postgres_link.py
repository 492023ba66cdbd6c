"""Connections to PostgreSQL, its errors as one sentence, and pgvector's numbers as bytes."""

import logging
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import psycopg
from psycopg import errors
from psycopg.adapt import Dumper
from psycopg.pq import Format
from psycopg.rows import TupleRow

from likewise.gallery.address import Address
from likewise.gallery.store import DamagedError, LostError, StoreError

__all__ = ["Connection", "Vector", "adapt", "connect", "plainly", "schema_of", "vector_bytes"]

logging.getLogger("psycopg").addHandler(logging.NullHandler())  # its warnings are errors of ours already
Connection = psycopg.Connection[TupleRow]
WAIT = 30  # seconds that a writer waits for another
CONNECT = {
    "client_encoding": "utf8",
    "connect_timeout": "10",
    "fallback_application_name": "likewise",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
}
# no writer is told that a write is kept before it is on the disk; one that stops in the middle holds up no other
SETTINGS = """SELECT set_config('search_path', %s, false), set_config('lock_timeout', %s, false),
    set_config('idle_in_transaction_session_timeout', '600s', false), set_config('synchronous_commit',
    replace(current_setting('synchronous_commit'), 'off', 'on'), false)"""
HEAD = struct.Struct(">HH")  # of pgvector's binary form: length, 0; then float32, big endian


class Vector(bytes):
    """A vector in pgvector's binary form."""

    @classmethod
    def of(cls, vector_D: np.ndarray) -> "Vector":
        return cls(HEAD.pack(vector_D.size, 0) + vector_D.astype(">f4").tobytes())


def vector_bytes(value: object) -> bytes:
    """float32, little endian, of pgvector's binary form; empty where it is none."""
    if not isinstance(value, bytes) or len(value) < HEAD.size:
        return b""
    if len(value) != HEAD.size + 4 * HEAD.unpack_from(value)[0]:
        return b""
    return np.frombuffer(value, ">f4", offset=HEAD.size).astype("<f4").tobytes()


def schema_of(gallery: str) -> str:
    """The schema that holds a gallery's tables; its name needs quotes."""
    return f"likewise_{gallery}"


def connect(address: Address, wait: float = WAIT) -> Connection:
    """A connection whose tables are the gallery's. Errors: ValueError in one sentence, without the password."""
    secret = {"password": address.password} if address.password else {}
    try:
        connection = psycopg.connect(autocommit=True, **{**CONNECT, **address.settings, **secret})  # type: ignore[arg-type]
    except psycopg.Error as error:
        raise ValueError(_unreachable(address, error)) from None
    try:
        with plainly(address.shown, connection):
            connection.execute(SETTINGS, (f'"{schema_of(address.gallery)}"', f"{max(1, int(1000 * wait))}ms"))
    except BaseException:
        connection.close()
        raise
    return connection


def _unreachable(address: Address, error: psycopg.Error) -> str:
    """Why there is no connection, and what to do."""
    link = getattr(error, "pgconn", None)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or ["no answer"]
    reason = next((line for line in lines if "failed: " in line), lines[0]).rpartition("failed: ")[2]
    if link is not None and link.needs_password:
        return f"{address.shown} asks for a password and none was given; set PGPASSWORD or write ~/.pgpass"
    if link is not None and link.used_password:
        return (
            f"{address.shown} refuses the connection ({reason}); check database, user and password (in the URL, "
            "PGPASSWORD or ~/.pgpass)"
        )
    return f"{address.shown} cannot be reached ({reason}); check host, port and database, and that PostgreSQL runs"


@contextmanager
def plainly(shown: str, connection: Connection) -> Iterator[None]:
    """PostgreSQL's errors as one sentence. Errors: LostError where the connection is gone."""
    try:
        yield
    except errors.LockNotAvailable:
        raise ValueError(f"{shown} is locked by another process; try again when that has finished") from None
    except errors.DiskFull:
        raise StoreError(f"{shown}: the server's disk is full; nothing of this call was written") from None
    except errors.ReadOnlySqlTransaction:
        raise ValueError(f"{shown} cannot be written: the server takes no writes; give that of the primary") from None
    except errors.InsufficientPrivilege as error:
        raise ValueError(f"{shown} cannot be used so by this user: {_primary(error)}; ask its owner") from None
    except psycopg.DataError as error:  # a search for text with a NUL character
        raise ValueError(f"{shown}: {_primary(error)}") from None
    except (errors.UndefinedTable, errors.UndefinedColumn, errors.InvalidSchemaName) as error:
        raise DamagedError(f"{shown} is damaged or was removed ({_primary(error)}); restore an export of it") from None
    except psycopg.Error as error:
        if connection.closed or connection.pgconn.pipeline_status:  # left in the middle, it is of no use
            connection.close()
            raise LostError(f"{shown}: the connection to the server was lost; {REPEAT}") from None
        raise StoreError(f"{shown}: {_primary(error)}") from None


REPEAT = "what was answered is kept; repeat the call: nothing is enrolled twice"


def _primary(error: psycopg.Error) -> str:
    """The server's own sentence, without the values that it may add."""
    lines = (error.diag.message_primary or str(error)).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def adapt(connection: Connection, number: int) -> None:
    """Send `Vector` as pgvector's type, whose number differs from database to database."""

    class VectorDumper(Dumper):
        oid = number
        format = Format.BINARY

        def dump(self, obj: Vector) -> bytes:
            return bytes(obj)

    connection.adapters.register_dumper(Vector, VectorDumper)
