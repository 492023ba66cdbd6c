"""translate: convert another project's configuration to a recipe."""

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
    output: Annotated[Path | None, typer.Option("-o", "--output", help="recipe file to write (.toml)")] = None,
    as_json: Json = False,
) -> None:
    """Convert an EmbeddingNet configuration to a recipe, with a note on every key."""
    from likewise.atomic import replacing
    from likewise.reproduce.translate import translate as read
    from likewise.reproduce.translation import DIFFERS, MAPPED, REFUSED

    if output is not None and output.suffix.lower() != ".toml":
        raise ValueError(f"a recipe is written as .toml, not {output.name}")
    try:
        translation = read(config.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot read {config}: {error}") from None
    written = output or config.with_suffix(".toml")
    with replacing(written) as temporary:
        temporary.write_text(translation.recipe.to_toml(), encoding="utf-8")
    if as_json:
        lines = [asdict(line) for line in translation.lines]
        print(
            json.dumps(
                {"recipe": translation.recipe.to_dict(), "generation": translation.generation, "keys": lines}, indent=1
            )
        )
        return
    print(f"a configuration of {translation.generation}:")
    for kind in (MAPPED, DIFFERS, REFUSED):
        for line in (line for line in translation.lines if line.kind == kind):
            arrow = f" -> {line.ours}" if line.ours else ""
            print(f"  {kind}: {line.written}: {line.value}{arrow}{f' ({line.why})' if line.why else ''}")
    name = f" --name {translation.name}" if translation.name else ""
    print(f"train it: likewise train {written}{name}")
