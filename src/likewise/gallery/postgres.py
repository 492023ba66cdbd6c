"""A gallery in PostgreSQL with pgvector: many machines write to it, one write after another.

A write locks the one row of the table `format`, so that versions and items are numbered in the order of their commits.
It leaves a token there, by which a write whose COMMIT was cut off is known to have come or not. A lost connection is
opened anew before a read and before a write, never inside one.
"""

import itertools
import re
import secrets
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from psycopg.errors import Diagnostic

from likewise.gallery import postgres_tables as tables
from likewise.gallery.address import Address
from likewise.gallery.layout import TABLES
from likewise.gallery.postgres_link import (
    WAIT,
    Connection,
    Vector,
    adapt,
    connect,
    plainly,
    schema_of,
    vector_bytes,
)
from likewise.gallery.postgres_tables import sql
from likewise.gallery.store import BATCH, LostError, SqlStore, StoreError

__all__ = ["PostgresStore"]

WRITE = "BEGIN ISOLATION LEVEL READ COMMITTED"
READ = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
ERASED = [name for name, statement in TABLES.items() if statement.startswith("CREATE TABLE")]


class PostgresStore(SqlStore):
    """A gallery in a schema of a database."""

    largest_dim = 16_000  # pgvector's `vector`
    beyond = (
        "the server's write-ahead log, its archives, replicas and backups may hold the class until they are recycled"
    )

    def __init__(self, address: Address, *, create: bool = False, wait: float = WAIT):
        super().__init__()
        self.address, self.url, self.wait = address, address.shown, wait
        self.closed = False
        self.names = itertools.count()
        if create:
            with connect(address, wait) as made:
                tables.create(made, address)
        self.connection = self._open()
        try:
            tables.migrate(self.connection, self.url)
        except BaseException:
            self.connection.close()
            raise

    def _open(self) -> Connection:
        """Another connection to the gallery. Errors: ValueError where there is none."""
        connection = connect(self.address, self.wait)
        try:
            adapt(connection, tables.vector_type(connection, self.address))
        except BaseException:
            connection.close()
            raise
        return connection

    # statements

    def run(self, statement: str, values: Sequence[object] = ()) -> list[tuple]:
        with self.lock:
            try:
                return self._run(statement, values)
            except LostError:
                if self.depth:
                    raise
            self._reconnect()  # outside a transaction only what reads, or may be repeated, is run
            return self._run(statement, values)

    def _run(self, statement: str, values: Sequence[object] = ()) -> list[tuple]:
        with plainly(self.url, self.connection):
            cursor = self.connection.execute(sql(statement), tuple(values), binary=True)
            return cursor.fetchall() if cursor.description else []

    def run_many(self, statement: str, rows: Sequence[Sequence[object]]) -> list[list[tuple]]:
        results: list[list[tuple]] = []
        if not rows:
            return results
        returning = "RETURNING" in statement
        with self.lock, plainly(self.url, self.connection), self.connection.cursor(binary=True) as cursor:
            cursor.executemany(sql(statement), [tuple(row) for row in rows], returning=returning)
            if not returning:
                return [[] for _ in rows]
            return [result.fetchall() for result in cursor.results()]

    def stream(self, statement: str, values: Sequence[object] = ()) -> Iterator[tuple]:
        """Inside a transaction as that sees it; else over a connection of its own, so that writes may go on."""
        with self.lock:
            if self.depth:
                with plainly(self.url, self.connection):
                    yield from self._cursor(self.connection, statement, values)
                return
        connection = self._open()
        try:
            with plainly(self.url, connection):
                connection.execute(READ)
                yield from self._cursor(connection, statement, values)
        finally:
            connection.close()

    def _cursor(self, connection: Connection, statement: str, values: Sequence[object]) -> Iterator[tuple]:
        with connection.cursor(name=f"rows_{next(self.names)}") as cursor:
            cursor.execute(sql(statement), tuple(values), binary=True)
            while rows := cursor.fetchmany(BATCH):
                yield from rows

    def vector_in(self, vector: np.ndarray) -> Vector:
        return Vector.of(vector)

    def vector_out(self, value: object) -> bytes:
        return vector_bytes(value)

    # transactions

    def begin_write(self) -> Callable[[], None]:
        before, token = self._locked()
        return lambda: self._commit(before, token)

    def begin_read(self) -> None:
        self.run(READ)

    def _locked(self) -> tuple[str, str]:
        """Begin a write; the tokens of the write before and of this one. A lost connection is opened anew."""
        token = secrets.token_hex(16)
        try:
            return self._begin(token), token
        except LostError:
            self._reconnect()
        return self._begin(token), token

    def _begin(self, token: str) -> str:
        try:
            self._run(WRITE)
            ((version, before),) = self._run("SELECT version, writer FROM format FOR UPDATE")
            tables.check_version(version, self.url)
            self._run("UPDATE format SET writer = ?", (token,))
        except BaseException:
            self.rollback()
            raise
        return str(before)

    def _commit(self, before: str, token: str) -> None:
        """Errors: StoreError where it was not written, or where that cannot be told."""
        try:
            with plainly(self.url, self.connection):
                if self.connection.execute("COMMIT").statusmessage != "COMMIT":
                    raise StoreError(f"{self.url}: a statement failed; nothing of this call was written")
            return
        except LostError as error:
            lost = error
        try:
            self._reconnect()
            now: str | None = self._begin(
                secrets.token_hex(16)
            )  # waits until the server has ended the write that was cut off
            self.rollback()
        except ValueError:
            now = None
        if now == token:
            return
        if now == before:
            raise lost
        raise StoreError(
            f"{self.url}: the connection to the server was lost while a write was ending, and it may be kept or not; "
            "look, or repeat the call: what is enrolled already is not enrolled twice"
        )

    def rollback(self) -> None:
        if not self.connection.closed:
            try:
                self._run("ROLLBACK")
            except ValueError:
                self.connection.close()

    def _reconnect(self) -> None:
        """Open the connection anew; a server that is being started is waited for. Errors: LostError."""
        if self.closed:
            raise StoreError(f"{self.url} was closed; open it again")
        self.connection.close()
        until = time.monotonic() + min(self.wait, 10)
        while True:
            try:
                self.connection = self._open()
                return
            except ValueError as error:
                if time.monotonic() > until:
                    raise LostError(f"the connection was lost and does not come back: {error}") from None
            time.sleep(0.1)

    # erasing

    def erase(self) -> bool:
        """Write the tables anew without what was deleted; False where a reader or a missing right kept it from that."""
        until = time.monotonic() + min(self.wait, 10)
        while True:
            dead_rows = [self._kept(table) for table in ERASED]
            if not any(dead_rows) or None in dead_rows or time.monotonic() > until:
                return not any(dead_rows) and None not in dead_rows
            time.sleep(0.2)

    def _kept(self, table: str) -> int | None:
        """Write a table anew; the deleted rows that the server had to keep for readers, None where it refused."""
        details: list[str] = []

        def note(diagnostic: Diagnostic) -> None:
            details.append(diagnostic.message_detail or "")

        with self.lock:
            self.run("SELECT 1")  # opens a lost connection anew
            self.connection.add_notice_handler(note)
            try:
                self._run(f'VACUUM (FULL, VERBOSE) "{schema_of(self.address.gallery)}"."{table}"')
            except LostError:
                raise
            except ValueError:  # a reader holds the table
                return 1
            finally:
                self.connection.remove_notice_handler(note)
        counts = [int(match[0]) for detail in details if (match := re.search(r"\d+", detail))]
        return sum(counts) if counts else None

    def discard(self) -> None:
        self.run(f'DROP SCHEMA IF EXISTS "{schema_of(self.address.gallery)}" CASCADE')
        self.close()

    def close(self) -> None:
        with self.lock:
            self.closed = True
            self.connection.close()
