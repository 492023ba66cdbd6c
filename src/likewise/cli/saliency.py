"""saliency: what of two images makes them alike to a model."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from likewise.cli.app import Json, RunFolder, app
from likewise.cli.terminal import wrapped

if TYPE_CHECKING:
    from likewise.viz.saliency import Saliency

AGREES, DEPENDS = 0.3, 0.5  # rank correlations: of a map that occlusion confirms, and of one that weights do not change


@app.command()
def saliency(
    run: RunFolder,
    a: Path,
    b: Path,
    output: Annotated[Path, typer.Option("-o", "--output", help="PNG, SVG or PDF to write")] = Path("saliency.png"),
    as_json: Json = False,
) -> None:
    """Draw which pixels of two images raise their similarity, and which lower it.

    It also prints how well the maps agree with hiding parts of the image, and whether they depend on the weights.
    """
    from likewise.models import Embedder
    from likewise.viz import plots
    from likewise.viz.saliency import saliency as explained

    plots.check_format(output)
    result = explained(Embedder.load(run), a, b)
    titles = [f"{name.name}: {checks(result, i)}" for i, name in enumerate((a, b))]
    plots.save(plots.saliency_maps(result.images, result.maps, titles), output)
    if as_json:
        numbers = {"similarity": result.similarity, "occlusion": result.occlusion, "random": result.random}
        print(json.dumps({**numbers, "file": str(output)}, indent=1))
        return
    print(f"similarity {result.similarity:+.4f}; red raises it, blue lowers it: {output}")
    for i, name in enumerate((a, b)):
        print("\n".join(wrapped(f"{name}: {checks(result, i)}; {meaning(result, i)}")))


def checks(result: "Saliency", i: int) -> str:
    """`occlusion 0.61, permuted weights 0.08`."""
    return f"occlusion {result.occlusion[i]:.2f}, permuted weights {result.random[i]:.2f}"


def meaning(result: "Saliency", i: int) -> str:
    """What the two rank correlations of a map say."""
    if result.random[i] >= DEPENDS:
        return "the map hardly depends on what was learned: do not read it as a reason"
    if result.occlusion[i] < AGREES:
        return "hiding parts of the image tells another story: do not rely on the map"
    return "hiding parts of the image confirms the map, and permuted weights give another one"
