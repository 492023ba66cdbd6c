"""Whitening: a last linear layer, found in closed form, that shrinks what varies within classes."""

import torch
from torch import Tensor, nn

__all__ = ["relevant"]


@torch.no_grad()
def relevant(emb_ND: Tensor, labels_N: Tensor, *, shrink: float = 1.0) -> nn.Linear:
    """The layer that centres embeddings and whitens them by their spread within classes, a class counting by its size.

    Directions in which images of one class differ say little of another class, seen or new, and are made small. With
    S the covariance within classes, (S + shrink * mean variance * 1)^(-1/2): `shrink` near 0 trusts S wholly, a large
    one only centres. emb_ND: before it is scaled to length 1; labels_N: int64. Where embeddings do not vary within
    classes it only centres. Float64 inside; the layer is float32 and not trained. Relevant component analysis: Bar-
    Hillel et al., JMLR 2005; shrunk as by Ledoit and Wolf, 2004, with a share of one's own choice. Errors: ValueError
    for a shrink that is not above 0, and where no class has two embeddings.
    """
    if not shrink > 0:
        raise ValueError(f"whitening is shrunk by more than 0, usually by 0.3 to 3; got shrink={shrink}")
    _, label_N, size_C = labels_N.unique(return_inverse=True, return_counts=True)
    if not (size_C > 1).any():
        raise ValueError("whitening needs a class with two images or more to see what varies within classes")
    x_ND = emb_ND.double()
    mean_CD = x_ND.new_zeros(len(size_C), x_ND.shape[1]).index_add_(0, label_N, x_ND) / size_C[:, None]
    within_ND = x_ND - mean_CD[label_N]
    matrix_DD = inverse_root(within_ND.mT @ within_ND / len(x_ND), shrink)
    layer = nn.Linear(x_ND.shape[1], x_ND.shape[1])
    layer.weight.copy_(matrix_DD)
    layer.bias.copy_(-matrix_DD @ x_ND.mean(0))
    return layer.requires_grad_(False)


def inverse_root(cov_DD: Tensor, shrink: float) -> Tensor:
    """(S / s + shrink * 1)^(-1/2) with s the mean variance, so that the scale of what comes in does not matter much."""
    mean = cov_DD.diagonal().mean()
    if not mean > 0:
        return torch.eye(len(cov_DD), dtype=cov_DD.dtype, device=cov_DD.device)
    value_D, vector_DD = torch.linalg.eigh(cov_DD / mean)
    return vector_DD * (value_D.clamp_min(0) + shrink).rsqrt() @ vector_DD.mT
