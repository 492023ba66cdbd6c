"""The tables of a gallery in either store, and which of them each version of the format has."""

__all__ = ["ADDED", "FORMAT", "TABLES", "schema"]

FORMAT = 3

TABLES: dict[str, str] = {
    "meta": "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "items": (
        "CREATE TABLE items (seq {serial}, id TEXT NOT NULL UNIQUE, content TEXT NOT NULL UNIQUE, "
        "label TEXT NOT NULL, grp TEXT NOT NULL, path TEXT NOT NULL, metadata TEXT NOT NULL, "
        "look {blob} NOT NULL, vector {vector} NOT NULL, crc {big} NOT NULL)"
    ),
    "items_label": "CREATE INDEX items_label ON items (label)",
    "negatives": (
        "CREATE TABLE negatives (seq {serial}, content TEXT NOT NULL, look {blob} NOT NULL, vector {blob} NOT NULL, "
        "label TEXT NOT NULL, item TEXT NOT NULL, UNIQUE (content, label, item))"
    ),
    "steps": "CREATE TABLE steps (seq {serial}, at {real} NOT NULL, verb TEXT NOT NULL, undo TEXT NOT NULL)",
    "audit": (
        "CREATE TABLE audit (seq {serial}, at {real} NOT NULL, verb TEXT NOT NULL, items {big} NOT NULL, "
        "label TEXT NOT NULL)"
    ),
    "thumbnails": "CREATE TABLE thumbnails (content TEXT PRIMARY KEY, image {blob} NOT NULL, crc {big} NOT NULL)",
    "requests": (
        "CREATE TABLE requests (key TEXT PRIMARY KEY, at {real} NOT NULL, digest TEXT NOT NULL, answer TEXT NOT NULL)"
    ),
    "renewed": (
        "CREATE TABLE renewed (content TEXT NOT NULL, fingerprint TEXT NOT NULL, vector {blob} NOT NULL, "
        "crc {big} NOT NULL, PRIMARY KEY (content, fingerprint))"
    ),
}
ADDED = {2: ("thumbnails", "requests"), 3: ("renewed",)}  # tables that a format has and the one before has not


def schema(types: dict[str, str], version: int = FORMAT) -> list[str]:
    """The statements that create the tables of a format, with a store's own types."""
    later = {name for since, names in ADDED.items() if since > version for name in names}
    return [statement.format(**types) for name, statement in TABLES.items() if name not in later]
