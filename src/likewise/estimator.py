"""MetricLearner: an embedding as a scikit-learn transformer, for a Pipeline or GridSearchCV."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from likewise.data.images import Images
from likewise.experiment.build import build, resolve_defaults
from likewise.experiment.recipe import Recipe
from likewise.experiment.trial import trial

__all__ = ["MetricLearner"]


class MetricLearner(ClassNamePrefixFeaturesOutMixin, ClassifierMixin, TransformerMixin, BaseEstimator):
    """Learn an embedding from labelled rows or images: `MetricLearner(dim=2).fit(X, y).transform(X)`.

    X: [n, d] numbers, standardised column by column inside; or uint8 images [n, H, W], [n, H, W, C] or [n, C, H, W]
    with a network for images. y: a label of any type for each. The parameters are a recipe's fields; `settings` gives
    further ones by name, such as `{"ema": 0.99}`.
    `predict(X)` is the label of each row's nearest training row and `score(X, y)` the share it is right for (knn@1), so
    that scikit-learn takes it for a classifier too, and its cross-validation keeps the classes' shares in every fold.
    Its output's columns are metriclearner0, metriclearner1 and so on. Errors: ValueError in one sentence.
    """

    def __init__(
        self,
        *,
        network: str = "mlp(widths=(128, 128))",
        dim: int = 32,
        loss: str = "supcon(temperature=0.1)",
        miner: str = "",
        sim: str = "",
        normalize: bool | None = None,
        sampler: str = "pk(classes=16, images=8)",
        epochs: int = 20,
        optimizer: str = "adamw",
        lr: float = 3e-3,
        schedule: str = "one_cycle",
        seed: int = 0,
        device: str = "cpu",
        settings: Mapping[str, object] | None = None,
    ):
        self.network, self.dim, self.loss, self.miner, self.sim, self.normalize = (
            network,
            dim,
            loss,
            miner,
            sim,
            normalize,
        )
        self.sampler, self.epochs, self.optimizer, self.lr, self.schedule = sampler, epochs, optimizer, lr, schedule
        self.seed, self.device, self.settings = seed, device, settings

    def fit(self, X: ArrayLike, y: ArrayLike) -> "MetricLearner":
        """Train on rows X with labels y."""
        array, label_N = validate_data(self, X, y, allow_nd=True, dtype=accepted(X))
        check_classification_targets(label_N)
        self.classes_, labels = np.unique(label_N, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError("y holds only one class; learning what is alike needs rows of at least 2 classes")
        named = {name: value for name, value in self.get_params().items() if name != "settings"}
        recipe = Recipe().replace(**{**(self.settings or {}), **named})
        parts = trial(build(resolve_defaults(recipe), rows(array, labels, self.classes_)))
        self.embedder_ = parts.state.final.cpu().eval()
        if array.dtype != np.uint8:
            self.embedder_.double()  # so that a row's embedding does not depend on the rows it is embedded with
        self.embedding_, self.labels_ = self._embed(array), labels
        self._n_features_out = self.embedder_.dim
        return self

    def transform(self, X: ArrayLike) -> np.ndarray:
        """The embedding of rows X, float [n, dim]."""
        check_is_fitted(self)
        return self._embed(validate_data(self, X, reset=False, allow_nd=True, dtype=accepted(X)))

    def predict(self, X: ArrayLike) -> np.ndarray:
        """The label of each row's nearest training row."""
        from likewise import spec

        emb = torch.from_numpy(self.transform(X))
        sim_NM = spec.bind("sim", str(self.embedder_.sim))(emb, torch.from_numpy(self.embedding_))
        return self.classes_[self.labels_[sim_NM.argmax(1).numpy()]]

    def _embed(self, X: np.ndarray) -> np.ndarray:
        pixels = tensor(X)
        with torch.no_grad():
            parts = [self.embedder_(part) for part in pixels.split(512)]
        return torch.cat(parts).numpy()

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.transformer_tags.preserves_dtype = []
        return tags


def accepted(X: object) -> type[np.uint8] | type[np.float64]:
    """Images stay bytes; everything else is numbers in double precision."""
    return np.uint8 if getattr(X, "dtype", None) == np.uint8 and getattr(X, "ndim", 2) > 2 else np.float64


def tensor(X: np.ndarray) -> torch.Tensor:
    """Rows [n, d] in double precision, or images as [n, C, H, W]."""
    if X.ndim == 3:
        X = X[:, None]
    elif X.ndim == 4 and X.shape[-1] in (1, 3):
        X = np.moveaxis(X, -1, 1)
    return torch.from_numpy(np.ascontiguousarray(X))


def rows(X: np.ndarray, labels: np.ndarray, classes: np.ndarray) -> Images:
    """All of them as a training part."""
    pixels = tensor(X)
    return Images(
        pixels if pixels.dtype == torch.uint8 else pixels.float(),
        torch.from_numpy(labels.astype(np.int64)),
        tuple(map(str, classes)),
        tuple(map(str, range(len(X)))),
        torch.zeros(len(X), dtype=torch.uint8),
        name="rows",
    )
