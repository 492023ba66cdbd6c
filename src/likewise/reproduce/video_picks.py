"""Which triplets are trained on: picks of negatives, and other positives and negatives, compared."""

from collections.abc import Sequence

from likewise import spec
from likewise.evaluate import Embeddings
from likewise.experiment.recipe import Recipe
from likewise.reproduce.experiment import Experiment
from likewise.reproduce.section import Section
from likewise.reproduce.video_measures import BACKGROUND, SCORES, judged, spans
from likewise.reproduce.video_trainings import HONEST, NETWORKS, SEEDS, divided, learned, respelled, seeds

__all__ = ["PICKS", "of_picks", "picked"]

PICKS = {"hardest": "hard", "random-hard": "random-hard", "semi-hard": "semihard"}


def of_picks(section: Section, experiment: Experiment) -> None:
    results = [(label, name, one) for name in NETWORKS for label, one in picked(experiment, name) if one is not None]
    if not results:
        return
    section.say("### Which triplets")
    section.say(
        "Every anchor has its own positive, and its negative is mined from the batch: the nearest (hardest), a "
        "random one within the margin (random-hard), or all that are farther than the positive and within the margin "
        "(semi-hard). Trained on the split with a gap, seed 0. *Labels ignored* is what their mining does: a "
        "negative may come from the anchor's own video.",
        f"One training per row. The {SEEDS} seeds of random-hard alone differ in the silhouette of training crops by "
        f"up to {', '.join(f'{apart(experiment, name):.3f} ({name})' for name in NETWORKS)}; smaller differences "
        "mean nothing.",
    )
    rows = [[name, *label, *spans([one], ("train", *SCORES))] for label, name, one in results]
    section.rows(["network", "pick", "positives", "negatives", "silhouette, train", *SCORES], rows)


def apart(experiment: Experiment, name: str) -> float:
    """How far the seeds of one setting lie from one another."""
    results = [judged(one)["train"] for one in seeds(experiment, name, HONEST)]
    return max(results) - min(results)


def picked(experiment: Experiment, name: str) -> list[tuple[tuple[str, str, str], Embeddings | None]]:
    """The picks by both networks; other positives and negatives, and a blind pick, by the small one."""
    base = divided(experiment.recipe(NETWORKS[name]), HONEST)
    own = spec.parse(base.loss)[1]["pick"]
    plain = ("random frame", "other video")
    recipes = {(title, *plain): base.replace(loss=respelled(base.loss, pick=pick)) for title, pick in PICKS.items()}
    if name == next(iter(NETWORKS)):
        recipes |= others(base, own)
    return [
        (label, learned(experiment, f"{HONEST}-{name}-seed0" if recipe == base else spelled(name, label), recipe))
        for label, recipe in recipes.items()
    ]


def others(base: Recipe, own: str) -> dict[tuple[str, str, str], Recipe]:
    behind = base.replace(data=respelled(base.data, background=True), sampler=respelled(base.sampler, negative="last"))
    return {
        (own, "next frame", "other video"): base.replace(sampler=respelled(base.sampler, positive="next")),
        (own, "random frame", BACKGROUND): behind,
        ("hardest", "random frame", "labels ignored"): base.replace(loss=respelled(base.loss, pick="hard", blind=True)),
    }


def spelled(name: str, label: Sequence[str]) -> str:
    return "-".join([HONEST, name, *label]).replace(" ", "_")
