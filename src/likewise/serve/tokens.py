"""Tokens: made once, stored as hashes, compared in constant time, read again when the file changes."""

import hashlib
import hmac
import os
import re
import secrets
import threading
from pathlib import Path
from typing import NamedTuple

from likewise.atomic import replacing
from likewise.safety import bounds

__all__ = ["SCOPES", "Token", "Tokens", "create_token", "revoke_token"]

SCOPES = ("read", "write", "admin")  # each includes the ones before
NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
DIGEST = re.compile(r"[0-9a-f]{64}")


class Token(NamedTuple):
    """Who calls, and what they may do."""

    name: str
    scope: str

    def may(self, scope: str) -> bool:
        return SCOPES.index(self.scope) >= SCOPES.index(scope)


class Tokens:
    """The tokens of a file. A file that becomes unreadable while it is served leaves the tokens as they were."""

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self.lock = threading.Lock()
        self.seen = self._stamp()
        self.digests = _read(self.path)
        self.problem = ""

    def _stamp(self) -> tuple[int, ...]:
        try:
            status = self.path.stat()
        except OSError:
            return ()
        return status.st_mtime_ns, status.st_size, status.st_ino

    def find(self, text: str) -> Token | None:
        """The token of this text; None for none. Every stored hash is compared, whichever matches."""
        with self.lock:
            if (stamp := self._stamp()) != self.seen:
                self.seen = stamp
                try:
                    self.digests, self.problem = _read(self.path), ""
                except ValueError as error:
                    self.problem = str(error)
            digests = self.digests
        given, match = _digest(text), None
        for token, digest in digests:
            if hmac.compare_digest(given, digest):
                match = token
        return match


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _read(path: Path) -> list[tuple[Token, str]]:
    """Errors: ValueError naming the file and the token that is wrong."""
    try:
        tables = bounds.read_toml(path)
    except OSError as error:
        raise ValueError(f"the token file {path} cannot be read: {error.strerror}") from None
    return [_entry(path, name, table) for name, table in tables.items()]


def _entry(path: Path, name: str, table: object) -> tuple[Token, str]:
    scope, digest = (table.get("scope"), table.get("sha256")) if isinstance(table, dict) else (None, None)
    if not NAME.fullmatch(name) or scope not in SCOPES or not isinstance(digest, str) or not DIGEST.fullmatch(digest):
        raise ValueError(
            f"{path}: the token {name!r:.70} needs scope = {' | '.join(SCOPES)} and sha256 = 64 hexadecimal digits; "
            f"`likewise token {path} NAME` writes one"
        )
    return Token(name, scope), digest


def create_token(path: str | os.PathLike, name: str, scope: str) -> str:
    """Add a token to the file; its text, which is stored nowhere. Errors: ValueError for a name that is taken."""
    path = Path(path)
    if not NAME.fullmatch(name):
        raise ValueError(f"a token's name is letters, digits, - and _, at most 64; got {name!r}")
    if scope not in SCOPES:
        raise ValueError(f"scope is {', '.join(SCOPES)}; got {scope!r}")
    entries = _read(path) if path.exists() else []
    if any(token.name == name for token, _ in entries):
        raise ValueError(f"{path} has a token {name} already; take another name, or remove it with --revoke")
    text = secrets.token_urlsafe(32)
    _write(path, [*entries, (Token(name, scope), _digest(text))])
    return text


def revoke_token(path: str | os.PathLike, name: str) -> None:
    """Take a token out of the file; a running service refuses it from the next request on. Errors: ValueError."""
    path = Path(path)
    entries = _read(path)
    if not any(token.name == name for token, _ in entries):
        raise ValueError(f"{path} has no token {name}; it has {', '.join(t.name for t, _ in entries) or 'none'}")
    _write(path, [entry for entry in entries if entry[0].name != name])


def _write(path: Path, entries: list[tuple[Token, str]]) -> None:
    if not path.parent.is_dir():
        raise ValueError(f"there is no folder {path.parent} to write {path.name} in")
    lines = [f'[{token.name}]\nscope = "{token.scope}"\nsha256 = "{digest}"\n' for token, digest in entries]
    with replacing(path) as temporary:
        temporary.touch(mode=0o600)
        temporary.chmod(0o600)
        temporary.write_text("\n".join(lines), encoding="utf-8")
