"""Which references are positives, and which are negatives, of each anchor. The one place that reads labels.

A relation says which labels are alike: `relation(labels_N, labels_M) -> alike [N, M]`, or `(alike, unlike)` where some
pairs are neither. The default is `same`, one label each; any callable of that shape will do.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Refs", "Relation", "jaccard", "level", "listed", "match", "match_partners", "same", "shared"]
# What `relation=` of a recipe may name.
KINDS = {"relation": ["same", "shared", "jaccard", "level"]}

Relation = Callable[[Tensor, Tensor], "Tensor | tuple[Tensor, Tensor]"]


class Refs(NamedTuple):
    """What anchors are compared with: the batch itself, a memory, other ranks' batches, or class proxies."""

    emb: Tensor  # [M, D]
    labels: Tensor  # [M], or [M, C] for a relation that reads several
    offset: int | None = None  # anchor i is reference offset + i; None when anchors are not among the references


def same(labels_N: Tensor, labels_M: Tensor) -> Tensor:
    """One label each: alike when equal.

    >>> same(torch.tensor([0, 1]), torch.tensor([0, 0, 1])).int()
    tensor([[1, 1, 0],
            [0, 0, 1]], dtype=torch.int32)
    """
    if labels_N.ndim != 1:
        raise ValueError(
            f"labels have shape {tuple(labels_N.shape)}, one label each is [N]; for several choose the relation: "
            "match.shared or match.jaccard (multi-hot [N, C]), or match.level (a path down a hierarchy [N, L])"
        )
    return labels_N[:, None] == labels_M[None, :]


def shared(labels_NC: Tensor, labels_MC: Tensor) -> Tensor:
    """Multi-hot labels [N, C]: alike when any class is in both.

    >>> shared(torch.tensor([[1, 1, 0]]), torch.tensor([[0, 1, 1], [0, 0, 1]]))
    tensor([[ True, False]])
    """
    return _common(labels_NC, labels_MC) > 0


def jaccard(labels_NC: Tensor, labels_MC: Tensor, *, at: float = 0.5) -> Tensor:
    """Multi-hot labels [N, C]: alike when classes in both / classes in either is at least `at`, and not 0.

    >>> jaccard(torch.tensor([[1, 1, 0]]), torch.tensor([[0, 1, 0], [0, 1, 1]]), at=0.5)
    tensor([[ True, False]])
    """
    both_NM = _common(labels_NC, labels_MC)
    either_NM = (labels_NC != 0).sum(-1)[:, None] + (labels_MC != 0).sum(-1) - both_NM
    return (both_NM >= at * either_NM) & (both_NM > 0)


def _common(labels_NC: Tensor, labels_MC: Tensor) -> Tensor:
    return (labels_NC != 0).float() @ (labels_MC != 0).float().T


def level(labels_NL: Tensor, labels_ML: Tensor, *, depth: int = 0) -> Tensor:
    """Paths [N, L] from the coarsest label to the finest: alike when they agree from the top down to `depth`.

    >>> level(torch.tensor([[0, 3]]), torch.tensor([[0, 4], [1, 3]]), depth=0)
    tensor([[ True, False]])
    """
    return (labels_NL[:, None, : depth + 1] == labels_ML[None, :, : depth + 1]).all(-1)


def listed(labels_N: Tensor, labels_M: Tensor, *, alike: Tensor, unlike: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Pairs by name: labels are the items' own numbers, `alike` and `unlike` lists [K, 2] of them, either way round.

    Without `unlike`, every pair that is not listed is unlike; with it, such a pair is neither.
    """
    alike_NM = _among(labels_N, labels_M, alike)
    return alike_NM, ~alike_NM if unlike is None else _among(labels_N, labels_M, unlike)


def _among(labels_N: Tensor, labels_M: Tensor, pairs_K2: Tensor) -> Tensor:
    # A product over the list counts its hits of each place; nothing of size N * M * K is made.
    first_NK, second_MK = labels_N[:, None] == pairs_K2[:, 0], labels_M[:, None] == pairs_K2[:, 1]
    second_NK, first_MK = labels_N[:, None] == pairs_K2[:, 1], labels_M[:, None] == pairs_K2[:, 0]
    return (first_NK.float() @ second_MK.float().T + second_NK.float() @ first_MK.float().T) > 0


def match(labels_N: Tensor, refs: Refs, relation: Relation = same) -> tuple[Tensor, Tensor]:
    """Masks (pos, neg), bool [N, M]: alike and unlike; an anchor is neither positive nor negative of itself.

    >>> emb, labels = torch.zeros(3, 2), torch.tensor([0, 0, 1])
    >>> pos, neg = match(labels, Refs(emb, labels, offset=0))
    >>> pos.int()
    tensor([[0, 1, 0],
            [1, 0, 0],
            [0, 0, 0]], dtype=torch.int32)
    """
    alike = relation(labels_N, refs.labels)
    pos_NM, neg_NM = alike if isinstance(alike, tuple) else (alike, ~alike)
    if refs.offset is None:
        return pos_NM, neg_NM
    pos_NM, neg_NM = pos_NM.clone(), neg_NM.clone()  # a relation may have given masks that it keeps
    pos_NM.diagonal(refs.offset).zero_()
    neg_NM.diagonal(refs.offset).zero_()
    return pos_NM, neg_NM


def match_partners(labels_N: Tensor, partners: Sequence[Tensor], relation: Relation = same) -> tuple[Tensor, Tensor]:
    """Masks (pos, neg), bool [N, P]: row i against item i of each list of partners."""
    masks = [match(labels_N, Refs(other_N, other_N), relation) for other_N in partners]
    pos, neg = zip(*((pos_NN.diagonal(), neg_NN.diagonal()) for pos_NN, neg_NN in masks), strict=True)
    return torch.stack(pos, 1), torch.stack(neg, 1)
