"""The tables of a gallery in PostgreSQL: one schema each, with the version of its layout; made, migrated, opened."""

from typing import LiteralString, cast

from psycopg import errors

from likewise.gallery.address import Address
from likewise.gallery.layout import ADDED, FORMAT, TABLES, schema
from likewise.gallery.postgres_link import Connection, plainly, schema_of
from likewise.gallery.store import DamagedError
from likewise.spec import near

__all__ = ["MIGRATIONS", "check_version", "create", "migrate", "sql", "vector_type"]

TYPES = {
    "serial": "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
    "blob": "BYTEA",
    "big": "BIGINT",
    "real": "DOUBLE PRECISION",
}
# layout: the statements that make it the next one; a new gallery has the newest
MIGRATIONS: dict[int, tuple[str, ...]] = {
    since - 1: tuple(TABLES[name].format(**TYPES) for name in names) for since, names in ADDED.items()
}
FORMAT_TABLE = "CREATE TABLE format (version BIGINT NOT NULL, writer TEXT NOT NULL)"
CREATING = 0x4C4B5731  # an advisory lock: one gallery of a database is created at a time
EXTENSION = """SELECT n.nspname::text, t.oid FROM pg_extension e
    JOIN pg_namespace n ON n.oid = e.extnamespace
    JOIN pg_type t ON t.typnamespace = e.extnamespace AND t.typname = 'vector' WHERE e.extname = 'vector'"""
AVAILABLE = "SELECT 1 FROM pg_available_extensions WHERE name = 'vector'"
GALLERIES = r"""SELECT nspname::text, has_schema_privilege(oid, 'USAGE') FROM pg_namespace
    WHERE nspname LIKE 'likewise\_%' ORDER BY nspname"""
# values of these columns would be copied into the planner's statistics, where no gallery can erase them
PRIVATE = """SELECT c.relname::text, a.attname::text FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = current_schema() AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
    AND a.atttypid NOT IN ('bigint'::regtype, 'double precision'::regtype)"""


def sql(statement: str) -> bytes:
    """A statement of ours: `?` for values becomes psycopg's `%s`."""
    return cast(LiteralString, statement).replace("?", "%s").encode()


def create(connection: Connection, address: Address) -> None:
    """An empty gallery, whole or not at all. Errors: ValueError where it exists, or the database has no pgvector."""
    name, shown = schema_of(address.gallery), address.shown
    with plainly(shown, connection), connection.transaction():
        (encoding,) = connection.execute("SHOW server_encoding").fetchone() or ("",)
        if encoding != "UTF8":
            raise ValueError(f"{shown}: the database's encoding is {encoding}; create one with ENCODING 'UTF8'")
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (CREATING,))
        extension = _extension(connection, shown)
        try:
            connection.execute(sql(f'CREATE SCHEMA "{name}"'))
        except errors.DuplicateSchema:
            raise ValueError(f"{shown} exists already; open it, or choose another name") from None
        for statement in (FORMAT_TABLE, *schema(TYPES | {"vector": f'"{extension}".vector'})):
            connection.execute(sql(statement))
        _without_statistics(connection)
        connection.execute("INSERT INTO format (version, writer) VALUES (%s, '')", (FORMAT,))


def _without_statistics(connection: Connection) -> None:
    for table, column in connection.execute(PRIVATE).fetchall():
        connection.execute(sql(f'ALTER TABLE "{table}" ALTER COLUMN "{column}" SET STATISTICS 0'))


def _extension(connection: Connection, shown: str) -> str:
    """The schema of pgvector, which is added to the database where that is allowed."""
    row = connection.execute(EXTENSION).fetchone()
    if row is None:
        if connection.execute(sql(AVAILABLE)).fetchone() is None:
            raise ValueError(
                f"{shown}: the server has no pgvector; install it there, as the package postgresql-18-pgvector or the "
                "image pgvector/pgvector"
            )
        try:
            connection.execute("CREATE EXTENSION IF NOT EXISTS vector SCHEMA public")
        except (errors.InsufficientPrivilege, errors.InvalidSchemaName):
            raise ValueError(
                f"{shown}: the database has no pgvector, and this user may not add it; its owner runs once: "
                "CREATE EXTENSION vector"
            ) from None
        row = connection.execute(EXTENSION).fetchone()
    return str(row[0]) if row else "public"


def vector_type(connection: Connection, address: Address) -> int:
    """The number of pgvector's type. Errors: ValueError where there is no such gallery; DamagedError."""
    shown = address.shown
    with plainly(shown, connection):
        names = {str(name).removeprefix("likewise_"): usable for name, usable in connection.execute(GALLERIES)}
        row = connection.execute(EXTENSION).fetchone()
    if address.gallery not in names:
        raise ValueError(
            f"there is no gallery {shown}{near(address.gallery, list(names)[:20]).rstrip('?')}; create it with "
            "`likewise gallery create URL --model RUN`"
        )
    if not names[address.gallery]:
        raise ValueError(f"{shown} is another user's; its owner grants USAGE on its schema and rights on its tables")
    if row is None:
        raise DamagedError(f"{shown}: pgvector was removed from the database; restore a backup of it")
    return int(row[1])


def check_version(version: int, shown: str) -> None:
    """Errors: ValueError for a layout of a later version."""
    if version > FORMAT:
        raise ValueError(f"{shown} has gallery format {version} and this version reads {FORMAT}; update likewise")


def migrate(connection: Connection, shown: str) -> None:
    """Bring an older layout to this version's, in one transaction. Errors: ValueError for a later one."""
    with plainly(shown, connection):
        row = connection.execute("SELECT version FROM format").fetchone()
        if row is None:
            raise DamagedError(f"{shown} does not say its format; it is damaged, restore an export")
        check_version(row[0], shown)
        if row[0] == FORMAT:
            return
        with connection.transaction():
            (version,) = connection.execute("SELECT version FROM format FOR UPDATE").fetchone() or (FORMAT,)
            check_version(version, shown)
            for old in range(version, FORMAT):
                for statement in MIGRATIONS[old]:
                    connection.execute(sql(statement))
            _without_statistics(connection)
            connection.execute("UPDATE format SET version = %s", (FORMAT,))
