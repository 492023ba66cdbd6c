"""Load a recipe by name, from a file, or for the user's own data."""

import os
from pathlib import Path

from likewise import spec
from likewise.data.arrays import kind_of
from likewise.data.formats import refused
from likewise.experiment.recipe import Recipe
from likewise.experiment.run import portable

__all__ = ["is_own", "load_recipe", "name_of", "with_columns"]

OWN = {".csv", ".tsv", ".parquet", ".pq", ".npz"}


def load_recipe(what: str | os.PathLike, *, trust_code: bool = False) -> Recipe:
    """A shipped recipe by name, a .toml or .json file, or a folder, .csv, .tsv, .parquet or .npz of your own data.

    trust_code: a file may name code outside the package (module:function), which is run.
    Errors: SpecError with the near names.
    """
    path = Path(what)
    if path.suffix.lower() in {".toml", ".json"}:
        return Recipe.load(path, trust_code=trust_code)
    if path.is_dir() or path.suffix.lower() in OWN:
        return own(path)
    members = spec.homes("recipe")
    key = os.fspath(what).replace("-", "_")
    if key not in members:
        if why := refused(path):
            raise spec.SpecError(why)
        raise spec.SpecError(
            f"{os.fspath(what)!r} is not a shipped recipe, .toml file, or folder of images{spec.near(key, members)}"
        )
    return members[key]()


def is_own(what: str | os.PathLike) -> bool:
    """Whether this is a folder, table or .npz of the user's own, and not a recipe."""
    path = Path(what)
    return path.suffix.lower() not in {".toml", ".json"} and (path.is_dir() or path.suffix.lower() in OWN)


def own(path: Path) -> Recipe:
    """The recipe for a user's own data. Errors: SpecError for a run folder."""
    if (path / "recipe.toml").is_file():
        raise spec.SpecError(f"{path} is a run; to go on with it: likewise train --resume {path}")
    from likewise.recipes import folder, rows

    kind = kind_of(path) if path.suffix.lower() == ".npz" else "images"
    if kind == "signals":
        return rows(path=os.fspath(path)).replace(network="conv1d")
    return (rows if kind == "rows" else folder)(path=os.fspath(path))


def with_columns(what: str | os.PathLike, **columns: str) -> Recipe:
    """The recipe for a user's table with these column names for `image`, `label`, `split` and `group`.

    Errors: SpecError for other files than tables.
    """
    path = Path(what)
    if path.suffix.lower() not in OWN - {".npz"}:
        raise spec.SpecError(f"columns are of a table (.csv, .tsv, .parquet), and {os.fspath(what)!r} is none")
    keywords = "".join(f", {use}={name!r}" for use, name in columns.items() if name)
    return own(path).replace(data=f"table(path={os.fspath(path)!r}{keywords})")


def name_of(what: str | os.PathLike) -> str:
    """Default name of its run."""
    return portable(Path(what).resolve().stem if os.path.exists(what) else os.fspath(what).replace("_", "-"))
