"""Options of every source: where the data are, the size and colour to load, and the memory to use."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from likewise.imaging.sizes import FITS, sides_of
from likewise.spec import near

__all__ = ["AbsentError", "LoadOptions", "as_path", "cache_home", "data_home"]


class AbsentError(ValueError):
    """The files of a source are not there; `name` is the source."""

    def __init__(self, name: str, sentence: str):
        super().__init__(sentence)
        self.name = name


def as_path(text: str | os.PathLike) -> Path:
    """A path as people write it, with ~ for home; an unknown ~name stays as it is."""
    return Path(os.path.expanduser(text))


def data_home() -> Path:
    """`LIKEWISE_DATA`, else the folder `likewise` in the user's cache."""
    folder = os.environ.get("LIKEWISE_DATA")
    return as_path(folder) if folder else _users_cache()


def cache_home() -> Path:
    """The folder of the cache of decoded images: `LIKEWISE_CACHE`, else `likewise/decoded` in the user's cache."""
    folder = os.environ.get("LIKEWISE_CACHE")
    return as_path(folder) if folder else _users_cache() / "decoded"


def _users_cache() -> Path:
    places = {"darwin": "~/Library/Caches", "win32": os.environ.get("LOCALAPPDATA", "~/AppData/Local")}
    cache = places.get(sys.platform) or os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return as_path(cache) / "likewise"


def on_stderr(sentence: str) -> None:
    print(f"likewise: {sentence}", file=sys.stderr, flush=True)


@dataclass(frozen=True)
class LoadOptions:
    """The first argument of every source.

    root      <root>/<source>/ holds the files as their publishers laid them out
    size      side in pixels of the square every image is brought to, or "40x64", height and width; 0: as most are
    fit       stretch | pad | crop: what is done with images of another aspect
    channels  1 grey, 3 colour; 0: as most images are
    memory    bytes of pixels to hold in memory; a larger set is streamed, and decoded once if the cache has room for it
    progress  called with (done, total) while images are read
    say       called with a sentence that the user should see
    """

    root: Path = field(default_factory=data_home)
    size: int | str = 0
    channels: int = 0
    fit: str = "stretch"
    memory: int = 1 << 30
    progress: Callable[[int, int], None] | None = None
    say: Callable[[str], None] = on_stderr

    def __post_init__(self) -> None:
        if self.fit not in FITS:
            raise ValueError(f"no fit={self.fit!r}{near(self.fit, FITS)}")
        try:
            sides_of(self.size)
            wrong = self.channels not in (0, 1, 3)
        except ValueError:
            wrong = True
        if wrong:
            asked = f"size={self.size}, channels={self.channels}"
            raise ValueError(
                "size is a side in pixels, height and width such as 40x64, or 0, channels is 0, 1 (grey) or 3 (colour);"
                f" got {asked}"
            )

    @property
    def sides(self) -> tuple[int, int] | None:
        """Height and width that are wanted; None: as most images are."""
        return sides_of(self.size)

    def find(self, name: str, paths: list[str], how: str = "") -> list[Path]:
        """The files or folders `paths` of source `name`, all there. Errors: AbsentError, which says how to get them."""
        wanted = [self.root / path for path in paths]
        if missing := [path for path in wanted if not path.exists()]:
            folder = Path(paths[0]).parts[0]
            get = how or f"run `likewise data fetch {name}`, or set LIKEWISE_DATA to the folder that holds {folder}/"
            raise AbsentError(name, f"{name} is not here: looked for {missing[0]}; {get}")
        return wanted
