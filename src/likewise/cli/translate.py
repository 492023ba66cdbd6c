"""translate: another project's configuration as a recipe."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from likewise.cli.app import Json, app


@app.command()
def translate(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG.yml", help="a configuration of EmbeddingNet, any generation")
    ],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="recipe to write, a .toml")] = None,
    as_json: Json = False,
) -> None:
    """Turn an EmbeddingNet configuration into a recipe, and say what became of every key of it."""
    from likewise.atomic import replacing
    from likewise.reproduce.translate import DIFFERS, MAPPED, REFUSED
    from likewise.reproduce.translate import translate as read

    if output is not None and output.suffix != ".toml":
        raise ValueError(f"a recipe is written as .toml, not {output.name}")
    try:
        found = read(config.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot read {config}: {error}") from None
    written = output or config.with_suffix(".toml")
    with replacing(written) as temporary:
        temporary.write_text(found.recipe.to_toml(), encoding="utf-8")
    if as_json:
        lines = [asdict(line) for line in found.lines]
        print(json.dumps({"recipe": found.recipe.to_dict(), "generation": found.generation, "keys": lines}, indent=1))
        return
    print(f"a configuration of {found.generation}:")
    for kind in (MAPPED, DIFFERS, REFUSED):
        for line in (line for line in found.lines if line.kind == kind):
            arrow = f" -> {line.ours}" if line.ours else ""
            print(f"  {kind}: {line.written}: {line.value}{arrow}{f' ({line.why})' if line.why else ''}")
    name = f" --name {found.name}" if found.name else ""
    print(f"train it: likewise train {written}{name}")
