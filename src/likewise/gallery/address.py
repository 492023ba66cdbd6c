"""The URL of a gallery in PostgreSQL. Its password is never shown."""

import re
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from likewise.spec import near

__all__ = ["FORM", "URL", "Address", "parse", "without_password"]

FORM = "postgresql://USER@HOST:PORT/DATABASE?gallery=NAME"
URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")  # one letter before the colon is a drive
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,47}", re.ASCII)
PASSWORD = re.compile(r"(?i)\b(postgres(?:ql)?:/+[^:/@\s]*:)\S*@")
# settings of libpq that a URL may carry
SETTINGS = (
    "application_name", "channel_binding", "connect_timeout", "gssencmode", "host", "passfile", "port", "service",
    "sslcert", "sslcrl", "sslkey", "sslmode", "sslrootcert", "target_session_attrs",
)  # fmt: skip


@dataclass(frozen=True)
class Address:
    """A gallery of a PostgreSQL database."""

    gallery: str
    settings: dict[str, str]
    password: str = field(default="", repr=False)

    @property
    def shown(self) -> str:
        """The URL without its password."""
        settings = {key: quote(value, safe="[]:,") for key, value in self.settings.items()}
        user = f"{settings['user']}@" if "user" in settings else ""
        host, port = settings.get("host", ""), settings.get("port", "")
        directory = host.startswith("%2F")
        server = "" if directory else f"[{host}]" if ":" in host else host
        query = f"host={unquote(host)}&" if directory else ""
        query += f"service={settings['service']}&" if "service" in settings else ""
        where = f"{user}{server}{':' if port else ''}{port}/{settings.get('dbname', '')}"
        return f"postgresql://{where}?{query}gallery={self.gallery}"


def parse(url: str) -> Address:
    """Errors: ValueError for a URL that is none, without a word of it: what was misread may be the password."""
    wrong = ValueError(
        f"the URL of the gallery cannot be read; write {FORM}, a password behind the user as USER:PASSWORD with other "
        "signs than letters and digits as %40"
    )
    if not re.match(r"(?i)postgres(ql)?://", url):
        raise wrong
    try:
        parts = urlsplit(url)
        port, user, password = parts.port, parts.username, parts.password
        pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query), max_num_fields=50)
    except ValueError:
        raise wrong from None
    if parts.fragment or "#" in url or "@" in parts.path + parts.query or "/" in parts.path[1:]:
        raise wrong
    settings = {key: unquote(value or "") for key, value in (("user", user), ("dbname", parts.path[1:]))}
    settings |= {"host": unquote(parts.hostname or ""), "port": str(port or "")}
    gallery = _queried(pairs, settings)
    if any("\0" in value for value in settings.values()):
        raise wrong
    return Address(gallery, {key: value for key, value in settings.items() if value}, unquote(password or ""))


def _queried(pairs: list[tuple[str, str]], settings: dict[str, str]) -> str:
    """The gallery's name; what else the query says goes into `told`."""
    gallery = ""
    for key, value in pairs:
        if key == "gallery":
            gallery = value
        elif key in SETTINGS:
            settings[key] = value
        elif key == "password":
            raise ValueError(f"a password stands behind the user, in PGPASSWORD or in ~/.pgpass; write {FORM}")
        else:
            word = key if key.isidentifier() and len(key) < 30 else "a setting"
            raise ValueError(f"the URL of a gallery takes no {word!r}{near(word, ('gallery', *SETTINGS))}")
    if not NAME.fullmatch(gallery):
        what = "names no gallery" if not gallery else "names a gallery by other signs than A-Z, a-z, 0-9, _ and -"
        raise ValueError(f"the URL {what}, 48 at most; write {FORM}")
    return gallery


def without_password(text: str) -> str:
    """A sentence in which no URL of PostgreSQL shows its password."""
    return PASSWORD.sub(r"\1***@", text)
