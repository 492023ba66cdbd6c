"""What each score of metrics.json means, for `likewise list metrics` and `likewise explain knn@1`."""

from likewise.viz.pages.score_texts import SCORE_TEXTS, text_of

__all__ = ["explained_metric", "metrics"]

EXAMPLES = {"few_shot@": "few_shot@5w1s", "tar@far=": "tar@far=0.01", "dir@far=": "dir@far=0.01"}
AT = {"knn@": 5, "knn_weighted@": 20, "recall@": 10, "precision@": 10}


def metrics() -> dict[str, str]:
    """A line on each score by a name that is measured: `knn@5` stands for every `knn@K`."""
    named = {EXAMPLES.get(key, f"{key}{AT.get(key, '')}") for key in SCORE_TEXTS}
    return {name: filled(name)[1] for name in sorted(named)}


def explained_metric(name: str) -> str:
    """Title, meaning and scale of a score; empty if there is none of this name."""
    text = text_of(name)[0]
    if not text.sentence:
        return ""
    title, meaning = filled(name)
    scale = f"From {text.bottom:g} to 1, with a 95 % interval over {text.counted}; docs/metrics.md has its definition."
    return f"score  {name}: {title}\n\n{meaning}\n{scale}"


def filled(name: str) -> tuple[str, str]:
    """Title and meaning with the numbers of the name filled in."""
    text, fields = text_of(name)
    return text.title.format(**fields), text.meaning.format(**fields)
