"""Embedder: preprocessing, a network and a head in one module, saved and loaded as one folder."""

from likewise.models.embedder import Embedder, evaluating

__all__ = ["Embedder", "evaluating"]
