"""What a service is started with, and its limits."""

import ipaddress
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from likewise.gallery.address import URL, parse, without_password
from likewise.safety import bounds

__all__ = ["Limits", "Settings", "named_galleries"]

MiB = 1 << 20


@dataclass(frozen=True)
class Limits:
    """What one request, one token and the whole service may take."""

    request_bytes: int = 64 * MiB
    image_bytes: int = 20 * MiB
    image_pixels: int = 25_000_000
    images: int = 32  # a request
    connections: int = 512  # open at once; requests on further ones are answered 503 and closed
    concurrency: int = 128  # requests in flight; more are answered 503
    threads: int = 16  # requests at work; the others in flight wait
    seconds: float = 30.0  # a request, from its first byte to its answer
    rate: float = 100.0  # requests a second and token, on average
    burst: int = 200  # requests of a token at once


@dataclass(frozen=True)
class Settings:
    """The options of `likewise serve`. Errors: ValueError for an address that is public without tokens."""

    galleries: tuple[str, ...]  # each URL or NAME=URL
    model: str = ""
    host: str = "127.0.0.1"
    port: int = 8000
    token_file: str = ""
    certificate: str = ""
    key: str = ""
    workers: int = 1
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if not self.galleries:
            raise ValueError("there is no gallery to serve; give a file such as birds.gallery")
        if not self.token_file and not self.local:
            raise ValueError(
                f"{self.host} can be reached by other machines, and without tokens anybody could read and change the "
                "gallery; give --token-file FILE (`likewise token FILE NAME` makes one), or --host 127.0.0.1"
            )
        if bool(self.certificate) != bool(self.key):
            raise ValueError("TLS takes both a certificate and its key; give --certificate and --key")
        for path in filter(None, (self.token_file, self.certificate, self.key)):
            if not Path(path).is_file():
                raise ValueError(f"there is no file {path}")
        if self.workers > 1 and not all("://" in url for _, url in named_galleries(self.galleries)):
            raise ValueError(
                f"{self.workers} worker processes need galleries in PostgreSQL; an SQLite file is served by one"
            )

    @property
    def local(self) -> bool:
        """Whether only this machine can reach the service."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def as_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def of_json(cls, text: str) -> "Settings":
        fields = bounds.parsed_json(text, "the settings of the service")
        fields["galleries"] = tuple(fields["galleries"])
        return cls(**{**fields, "limits": Limits(**fields["limits"])})


def named_galleries(galleries: tuple[str, ...]) -> list[tuple[str, str]]:
    """Names and places: `birds=path/to.gallery`, a path whose name without suffix is the gallery's, or a URL.

    Errors: ValueError for a name that is none, or two galleries of one name.
    """
    by_name: dict[str, str] = {}
    for given in galleries:
        name, _, url = given.partition("=")
        if not url or not name.replace("-", "").replace("_", "").isalnum():
            name, url = parse(given).gallery if URL.match(given) else Path(given).stem, given
        if not name.strip():
            raise ValueError(f"{without_password(given)!r} has no name; write NAME={without_password(given)}")
        if name in by_name:
            raise ValueError(f"two galleries are named {name}; write NAME={without_password(given)} with another name")
        by_name[name] = url
    return list(by_name.items())
