"""The `>>>` examples of docstrings give the output that they show."""

import doctest
import importlib

import pytest
import torch

from likewise import losses

MODULES = [
    *("geometry", "match"),
    *(f"losses.{name}" for name in ("rules", "listwise", "batchwise", "margins", "proxies", "heads", "combine")),
    *(f"losses.{name}" for name in ("mining", "pair")),
    *(f"metrics.{name}" for name in ("retrieval", "classification", "clustering", "verification", "calibration")),
    *(f"metrics.{name}" for name in ("few_shot", "health", "sampled_pairs", "neighbours", "hausdorff")),
    *("data.samplers", "data.hierarchical_sampler", "data.consecutive_sampler"),
    *("models.networks", "models.strokes", "models.mobilenet"),
]
COMPLETE = [name for name in MODULES if name.startswith(("geometry", "match", "losses")) and name != "losses.pair"]


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


@pytest.mark.parametrize("name", COMPLETE)
def test_every_public_function_has_an_example(name):
    module = importlib.import_module(f"likewise.{name}")
    without = [n for n in module.__all__ if ">>>" not in (getattr(module, n).__doc__ or "")]
    assert sorted(without) == sorted({"match": ["Refs", "Relation", "listed", "match_partners"]}.get(name, []))
