"""Report section: scores without training."""

from likewise.experiment.gain import note, rows
from likewise.viz.pages.html import Html, table, tag
from likewise.viz.pages.run_data import RunData

__all__ = ["baselines"]


def baselines(m: RunData) -> list[Html]:
    """The scores of raw values, of the network before training and of frozen published features."""
    record = m.metrics.get("without_training")
    if not record or not record["baselines"]:
        return []
    text = f"Scores without any training, {note(record)}. Gain is the paired difference, this run less the other."
    head = ["", "Score", "Value", "Gain", "95 % interval"]
    left_out = [f"No {name} baseline: {why}." for name, why in record["left_out"].items()]
    more = [tag("p", sentence, class_="note") for sentence in left_out]
    return [tag("p", text), table(head, rows(record), numbers=[2, 3, 4]), *more]
