"""Load a recipe by name, from a file, or for the user's own data."""

import os
from pathlib import Path

from likewise import spec
from likewise.data.arrays import holds_rows
from likewise.experiment.recipe import Recipe

__all__ = ["load_recipe", "name_of"]


def load_recipe(what: str | os.PathLike, *, trust_code: bool = False) -> Recipe:
    """A shipped recipe by name, a .toml or .json file, or a folder, .csv or .npz with the user's own data.

    trust_code: a file may name code outside the package (module:function), which is run.
    Errors: SpecError with the near names.
    """
    path = Path(what)
    if path.suffix.lower() in {".toml", ".json"}:
        return Recipe.load(path, trust_code=trust_code)
    if path.is_dir() or path.suffix.lower() in {".csv", ".npz"}:
        return own(path)
    members = spec.homes("recipe")
    key = os.fspath(what).replace("-", "_")
    if key not in members:
        raise spec.SpecError(
            f"{os.fspath(what)!r} is not a shipped recipe, .toml file, or folder of images{spec.near(key, members)}"
        )
    return members[key]()


def own(path: Path) -> Recipe:
    """The recipe for a user's own data. Errors: SpecError for a run folder."""
    if (path / "recipe.toml").is_file():
        raise spec.SpecError(f"{path} is a run; to go on with it: likewise train --resume {path}")
    from likewise.recipes import folder, rows

    return (rows if path.suffix.lower() == ".npz" and holds_rows(path) else folder)(path=os.fspath(path))


def name_of(what: str | os.PathLike) -> str:
    """Default name of its run."""
    return Path(what).resolve().stem if os.path.exists(what) else os.fspath(what).replace("_", "-")
