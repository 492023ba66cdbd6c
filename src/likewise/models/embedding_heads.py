"""Heads: the layers between a network's features and the embedding; `name(width, dim, *, numbers)`.

Embedder adds the normalisation to length 1. Every head has a layer named `linear`, which published weights may fill.
"""

from collections import OrderedDict

from torch import nn

__all__ = ["bnneck", "linear", "projection"]

Layers = OrderedDict[str, nn.Module]


def linear(width: int, dim: int) -> Layers:
    """One linear layer; none where dim is 0.

    >>> linear(128, 64)
    OrderedDict([('linear', Linear(in_features=128, out_features=64, bias=True))])
    """
    return Layers(linear=nn.Linear(width, dim)) if dim else Layers()


def bnneck(width: int, dim: int) -> Layers:
    """A linear layer without bias (none where dim is 0), then BatchNorm without shift: the embedding is centred.

    Loss and inference both see what comes out. Luo et al., arXiv:1903.07071, 2019.

    >>> list(bnneck(128, 64))
    ['linear', 'norm']
    """
    norm = nn.BatchNorm1d(dim or width)
    norm.bias.requires_grad_(False)
    layers = Layers(linear=nn.Linear(width, dim, bias=False)) if dim else Layers()
    return Layers(**layers, norm=norm)


def projection(width: int, dim: int, *, hidden: int = 0, dropout: float = 0.0) -> Layers:
    """Two linear layers with a ReLU between; `hidden` numbers there, 0 is as many as features.

    Chen et al., arXiv:2002.05709, 2020.
    Errors: ValueError where dim is 0, so that there is nothing to project to.

    >>> list(projection(128, 64))
    ['hidden', 'relu', 'dropout', 'linear']
    """
    if not dim:
        raise ValueError("head=projection needs the length of the embedding and dim is 0; give dim=64, or head=linear")
    hidden = hidden or width
    return Layers(
        hidden=nn.Linear(width, hidden), relu=nn.ReLU(), dropout=nn.Dropout(dropout), linear=nn.Linear(hidden, dim)
    )
