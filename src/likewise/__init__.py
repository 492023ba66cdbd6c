"""Likewise learns what is alike.

`likewise.train(recipe)`, `likewise.Embedder.load(run).embed(images)`, `likewise.MetricLearner().fit(X, y)`.
Names are loaded on first use: `import likewise` imports neither torch nor numpy.
"""

from importlib import import_module
from typing import Any

from likewise.safety.offline import quiet_libraries

quiet_libraries()

__version__ = "0.1.0"
__all__ = [
    "Client",
    "Embedder",
    "Embeddings",
    "Gallery",
    "MetricLearner",
    "PairLoss",
    "ProxyLoss",
    "Recipe",
    "Run",
    "Score",
    "SpecError",
    "build_loss",
    "embed",
    "evaluate",
    "keep_memory",
    "load_data",
    "load_recipe",
    "predict",
    "train",
]

# name: (module, attribute)
HOMES = {
    "Client": ("likewise.client", "Client"),
    "Embedder": ("likewise.models", "Embedder"),
    "Embeddings": ("likewise.evaluate", "Embeddings"),
    "Gallery": ("likewise.gallery.gallery", "Gallery"),
    "MetricLearner": ("likewise.estimator", "MetricLearner"),
    "PairLoss": ("likewise.losses", "PairLoss"),
    "ProxyLoss": ("likewise.losses", "ProxyLoss"),
    "Recipe": ("likewise.experiment.recipe", "Recipe"),
    "Run": ("likewise.experiment.run", "Run"),
    "Score": ("likewise.evaluate", "Score"),
    "SpecError": ("likewise.spec", "SpecError"),
    "build_loss": ("likewise.losses", "build"),
    "embed": ("likewise.evaluate", "embed"),
    "keep_memory": ("likewise.malloc", "keep_memory"),
    "load_data": ("likewise.data", "load"),
    "load_recipe": ("likewise.recipes.load", "load_recipe"),
    "predict": ("likewise.api", "predict"),
    "train": ("likewise.api", "train"),
}


def __getattr__(name: str) -> Any:  # a function, a class or a package
    if name == "evaluate":  # a package that can be called; see its docstring
        return import_module("likewise.evaluate")
    if name not in HOMES:
        raise AttributeError(f"module 'likewise' has no attribute {name!r}")
    module, attribute = HOMES[name]
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
