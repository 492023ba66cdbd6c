"""The `>>>` examples of docstrings give the output that they show."""

import doctest
import importlib
import inspect
import re
from collections.abc import Callable

import pytest
import torch

from likewise import losses, spec

METRICS = (
    *("retrieval", "classification", "clustering", "verification", "identification", "calibration", "exact"),
    *("few_shot", "health", "sampled_pairs", "neighbours", "hausdorff", "intervals"),
)
MODULES = [
    *("geometry", "match"),
    *(f"losses.{name}" for name in ("rules", "listwise", "batchwise", "margins", "proxies", "heads", "combine")),
    *(f"losses.{name}" for name in ("spread", "distill", "mining", "pair")),
    *(f"metrics.{name}" for name in METRICS),
    *("data.samplers", "data.hierarchical_sampler", "data.consecutive_sampler", "training.embedding_samplers"),
    *("models.networks", "models.strokes", "models.mobilenet", "models.efficientnet", "models.pretrained"),
    *("models.embedding_heads", "models.adapters", "metrics.quantized", "evaluate.vector_sizes"),
]
KINDS = ("loss", "miner", "sampler", "network", "head", "sim", "relation")
# steps inside a metric, and not scores
STEPS = {
    *("calibration.chosen", "intervals.draws", "intervals.ends", "intervals.interval", "intervals.without_pair_noise"),
    *("neighbours.tiles", "retrieval.hidden", "verification.curve", "verification.rank", "verification.too_few"),
    *("clustering.silhouette_effects", "intervals.score_table"),
}
LINK = re.compile(r"arXiv:\d|https?://")
YEAR = re.compile(r"\b(?:19|20)\d\d\b")
# definitions that are older than any paper to link, or are Likewise's own
WITHOUT_PAPER = {
    "loss": {"sum"},
    "miner": {"nearest", "pair_margin"},
    "sampler": {"pairs", "shuffled", "triplets", "hierarchical_pk", "consecutive", "hard_negatives"},
    "network": {"conv1d", "convnet", "identity", "mlp", "simple2", "small", "strokes", "hf", "timm", "torchvision"},
    "head": {"linear"},
    "sim": {"cosine", "dot", "euclidean", "manhattan", "sqeuclidean"},
    "relation": {"same", "shared", "jaccard", "level"},
}


def members() -> dict[str, Callable]:
    """Losses, miners, samplers, networks and metrics by `kind name`."""
    found = {f"{kind} {name}": member for kind in KINDS for name, member in spec.homes(kind).items()}
    for home in METRICS:
        module = importlib.import_module(f"likewise.metrics.{home}")
        functions = {f"{home}.{name}": getattr(module, name) for name in module.__all__}
        found |= {f"metric {n}": f for n, f in functions.items() if inspect.isfunction(f) and n not in STEPS}
    return found


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    module = importlib.import_module(f"likewise.{name}")
    finder = doctest.DocTestFinder(exclude_empty=True)
    tests = [t for t in finder.find(module, extraglobs={"torch": torch, "losses": losses}) if t.examples]
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    with torch.random.fork_rng(devices=[]):
        failed = [t.name for t in tests if runner.run(t).failed]
    assert tests
    assert not failed


def test_every_member_has_an_example():
    assert [name for name, member in members().items() if ">>>" not in inspect.getdoc(member)] == []


def test_who_cites_a_paper_links_it():
    texts = {name: inspect.getdoc(member) for name, member in members().items()}
    assert [name for name, text in texts.items() if YEAR.search(text) and not LINK.search(text)] == []


@pytest.mark.parametrize("kind", KINDS)
def test_every_member_links_its_paper_or_has_none(kind):
    without = {name for name, member in spec.homes(kind).items() if not LINK.search(inspect.getdoc(member))}
    assert without == WITHOUT_PAPER[kind]
