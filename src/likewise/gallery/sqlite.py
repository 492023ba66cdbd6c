"""A gallery in one SQLite file: the embedded default.

WAL with synchronous=FULL: what was acknowledged survives a crash. secure_delete=ON, and VACUUM with an empty WAL
after a class is forgotten: nothing of it stays in the file. A file of a stranger is data: its schema must be ours to
the letter (no triggers, no views), lengths are checked before rows are read, and extensions are never loaded.
"""

import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from likewise.gallery.layout import ADDED, FORMAT, TABLES, schema
from likewise.gallery.store import BATCH, LARGEST_DIM, LONGEST_TEXT, DamagedError, SqlStore, StoreError

__all__ = ["SqliteStore"]

MAGIC = b"SQLite format 3\0"
APPLICATION = 0x4C4B5731  # "LKW1"
TYPES = {
    "serial": "INTEGER PRIMARY KEY AUTOINCREMENT",
    "blob": "BLOB",
    "vector": "BLOB",
    "big": "INTEGER",
    "real": "REAL",
}
LARGEST_VALUE = 256 << 20  # bytes of one value: an original image
WAIT = 30.0  # seconds that a writer waits for another


class SqliteStore(SqlStore):
    """A gallery in a file."""

    path: Path

    def __init__(self, path: str | os.PathLike, *, create: bool = False, wait: float = WAIT):
        super().__init__()
        self.path = Path(path)
        self.url = os.fspath(path)
        self.wait = wait
        self.read_only = False
        if create:
            self._create()
        self.connection = self._connect()
        try:
            self._check()
        except BaseException:
            self.connection.close()
            raise

    def _create(self) -> None:
        """An empty gallery under a temporary name, then in its place."""
        if self.path.exists():
            raise ValueError(f"{self.path} exists already; open it, or choose another name")
        if not self.path.parent.is_dir():
            raise ValueError(f"there is no folder {self.path.parent} to create {self.path.name} in")
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}.part")
        try:
            with _plainly(self.url):
                made = sqlite3.connect(temporary, isolation_level=None)
                try:
                    made.execute(f"PRAGMA application_id = {APPLICATION}")
                    made.execute(f"PRAGMA user_version = {FORMAT}")
                    made.execute("PRAGMA journal_mode = DELETE")
                    made.execute("BEGIN")
                    for statement in schema(TYPES):
                        made.execute(statement)
                    made.execute("COMMIT")
                finally:
                    made.close()
            os.link(temporary, self.path)  # fails where another process was first
        except FileExistsError:
            raise ValueError(f"{self.path} exists already; open it, or choose another name") from None
        except OSError as error:
            raise ValueError(f"{self.path} cannot be created: {error.strerror}") from None
        finally:
            temporary.unlink(missing_ok=True)

    def _connect(self) -> sqlite3.Connection:
        _check_header(self.path)
        self.read_only = not (os.access(self.path, os.W_OK) and os.access(self.path.parent, os.W_OK))
        wal = self.path.with_name(self.path.name + "-wal").exists()
        mode = "rw" if not self.read_only else "ro" if wal else "ro&immutable=1"
        with _plainly(self.url):
            connection = sqlite3.connect(
                f"{self.path.absolute().as_uri()}?mode={mode}",
                uri=True,
                isolation_level=None,
                check_same_thread=False,
                timeout=self.wait,
            )
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LARGEST_VALUE)
            settings = ["trusted_schema = OFF", "cell_size_check = ON", "secure_delete = ON", "temp_store = MEMORY"]
            settings += [] if self.read_only else ["journal_mode = WAL", "synchronous = FULL"]
            try:
                for setting in settings:
                    connection.execute(f"PRAGMA {setting}").fetchall()
            except BaseException:
                connection.close()
                raise
        return connection

    def _check(self) -> None:
        """Errors: ValueError for a file that is no gallery of this version, or whose values have impossible lengths."""
        application, version = (int(self.run(f"PRAGMA {key}")[0][0]) for key in ("application_id", "user_version"))
        if application != APPLICATION:
            raise ValueError(f"{self.url} is an SQLite file, but no gallery; create one with `likewise gallery create`")
        if not 1 <= version <= FORMAT:
            raise ValueError(
                f"{self.url} has gallery format {version} and this version reads {FORMAT}; update likewise"
            )
        if self._statements() != set(schema(TYPES, version)):
            raise DamagedError(f"{self.url} has tables other than a gallery's: it is damaged or was changed")
        if version < FORMAT:
            self._upgrade()
        texts = ", ".join(
            f"max(length({name}))" for name in ("id", "content", "label", "grp", "path", "metadata", "look")
        )
        *lengths, most = self.run(f"SELECT {texts}, max(length(vector)) FROM items")[0]
        if max((length or 0 for length in lengths), default=0) > LONGEST_TEXT or (most or 0) > 4 * LARGEST_DIM:
            raise DamagedError(f"{self.url} holds values longer than a gallery writes: it is damaged or was changed")

    def _statements(self) -> set[str]:
        rows = self.run("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name != 'sqlite_sequence'")
        return {sql for (sql,) in rows}

    def _upgrade(self) -> None:
        """Add the tables of later formats. Errors: ValueError for a file that cannot be written."""
        if self.read_only:
            raise ValueError(
                f"{self.url} has an older gallery format and is read-only; open it once where it can be written"
            )
        with self.begin():
            version = int(self.run("PRAGMA user_version")[0][0])  # another process may have been first
            for added in range(version + 1, FORMAT + 1):
                for name in ADDED[added]:
                    self.run(TABLES[name].format(**TYPES))
            self.run(f"PRAGMA user_version = {FORMAT}")

    def run(self, statement: str, values: Sequence[object] = ()) -> list[tuple]:
        with self.lock, _plainly(self.url):
            return self.connection.execute(statement, tuple(values)).fetchall()

    def stream(self, statement: str, values: Sequence[object] = ()) -> Iterator[tuple]:
        with self.lock, _plainly(self.url):
            cursor = self.connection.execute(statement, tuple(values))
            while rows := cursor.fetchmany(BATCH):
                yield from rows

    def begin_write(self) -> Callable[[], None]:
        self.run("BEGIN IMMEDIATE")
        return self.commit

    def commit(self) -> None:
        self.run("COMMIT")

    def begin_read(self) -> None:
        self.run("BEGIN")

    def rollback(self) -> None:
        if self.connection.in_transaction:
            self.connection.rollback()

    def erase(self) -> bool:
        """Rewrite the file without free pages and empty the WAL; False where another process kept it from that."""
        with self.lock:
            self.run("VACUUM")
            until = time.monotonic() + min(self.wait, 10)
            while True:
                busy, *_ = self.run("PRAGMA wal_checkpoint(TRUNCATE)")[0]
                if not busy or time.monotonic() > until:
                    return not busy
                time.sleep(0.05)

    def integrity(self) -> list[str]:
        """What SQLite itself finds wrong."""
        with self.lock:
            try:
                messages = [str(row[0]) for row in self.run("PRAGMA integrity_check(20)")]
            except ValueError as error:
                return [str(error)]
        return [] if messages == ["ok"] else messages

    def discard(self) -> None:
        self.close()
        for rest in ("", "-wal", "-shm"):
            self.path.with_name(self.path.name + rest).unlink(missing_ok=True)

    def close(self) -> None:
        with self.lock:
            self.connection.close()


def _check_header(path: Path) -> None:
    """Errors: ValueError for a file that is not there or not SQLite."""
    if not path.exists():
        raise ValueError(f"there is no gallery {path}; create one with `likewise gallery create {path} --model RUN`")
    if not path.is_file():
        raise ValueError(f"{path} is no file; a gallery is one file, such as birds.gallery")
    try:
        with path.open("rb") as file:
            head = file.read(len(MAGIC))
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    if head != MAGIC:
        raise ValueError(f"{path} is no gallery: it does not begin as an SQLite file does")


@contextmanager
def _plainly(url: str) -> Iterator[None]:
    """SQLite's errors as one sentence."""
    try:
        yield
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", "") or ""
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            raise ValueError(f"{url} is locked by another process; try again when that has finished") from None
        if name.startswith("SQLITE_FULL"):
            raise StoreError(f"{url}: the disk is full; nothing of this call was written") from None
        if name.startswith("SQLITE_READONLY"):
            raise ValueError(f"{url} cannot be written: the file or its folder is read-only") from None
        if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_TOOBIG", "SQLITE_FORMAT")):
            raise DamagedError(f"{url} is damaged ({error}); restore an export of it") from None
        if name.startswith(("SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_AUTH")):
            raise ValueError(f"{url} cannot be opened: {error}") from None
        raise StoreError(f"{url}: {error}") from None
    except (UnicodeDecodeError, OverflowError) as error:
        raise DamagedError(f"{url} is damaged ({error}); restore an export of it") from None
