"""Losses with parameters of their own, or that need more than similarities. Called like every loss."""

import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from likewise.losses.masked import softplus
from likewise.losses.pair import PairLoss, at_least_float32, check, in_batch, of_anchors
from likewise.losses.terms import BatchContext, Terms, reduce
from likewise.match import Refs

__all__ = ["barlow", "siamese_bce", "vae", "vicreg"]


class WeightedL1(nn.Module):
    """A learned similarity: sum over d of w_d |x_d - y_d| + b, symmetric in x and y. It is the logit of "same"."""

    def __init__(self, dim: int):
        super().__init__()
        # Negative at the start: a difference lowers the similarity. Each weight may change sign during training.
        self.weight = nn.Parameter(torch.full((dim,), -(dim**-0.5)))
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, x_ND: Tensor, y_MD: Tensor) -> Tensor:
        check_width(x_ND, len(self.weight), "siamese_bce")
        dtype = torch.promote_types(x_ND.dtype, self.weight.dtype)
        x_ND, y_MD, weight_D = x_ND.to(dtype), y_MD.to(dtype), self.weight.to(dtype)
        # Two distances between scaled rows, one for either sign of the weights: [N, M, D] never exists.
        for_D, against_D = weight_D.relu(), (-weight_D).relu()
        like_NM = torch.cdist(x_ND * for_D, y_MD * for_D, p=1) - torch.cdist(x_ND * against_D, y_MD * against_D, p=1)
        return like_NM + self.bias


def check_width(emb_ND: Tensor, dim: int, name: str) -> None:
    """Errors: ValueError for an embedding of another width than the head was built for."""
    if emb_ND.shape[-1] != dim:
        raise ValueError(
            f"{name} was built with dim={dim}, the embedding is {list(emb_ND.shape)}; build it with its dim"
        )


def logistic(sim_NM: Tensor, pos_NM: Tensor, neg_NM: Tensor) -> tuple[Terms, Terms]:
    """Binary cross-entropy of the logit `sim`; positives and negatives have half of the weight each."""
    pull_N = (0.5 * softplus(-sim_NM) * pos_NM).sum(-1)
    push_N = (0.5 * softplus(sim_NM) * neg_NM).sum(-1)
    return Terms(pull_N, pos_NM.sum(-1)), Terms(push_N, neg_NM.sum(-1))


class SiameseBCE(PairLoss):
    """The siamese network: the probability that two embeddings are of one class, from a learned weighted L1 distance.

    loss    cross-entropy of p(same) = sigmoid(sum over d of w_d |a_d - b_d| + b), positive and negative pairs
            with half of the weight each; all pairs of the batch in O(N^2) memory, or each row's own partners
    learns  w [dim] and b; symmetric, p(a, b) = p(b, a)
    paper   Koch et al., 2015, with equally many positive and negative pairs.
            https://www.cs.cmu.edu/~rsalakhu/papers/oneshot1.pdf
    at collapse  ln 2
    use     verification, by `probability`; a search index uses a different geometry. normalize=False
    PML     not included

    >>> siamese = losses.build("siamese_bce()", dim=2)
    >>> siamese.probability(torch.zeros(1, 2), torch.zeros(1, 2))
    tensor([0.5000], grad_fn=<SigmoidBackward0>)
    """

    def __init__(
        self,
        *,
        dim: int,
        miner: Callable | None = None,
        references: Callable[[Tensor, Tensor], Refs] | None = None,
    ):
        super().__init__(logistic, sim=WeightedL1(dim), miner=miner, references=references or in_batch)

    def probability(self, a_ND: Tensor, b_ND: Tensor) -> Tensor:
        """Probability that row i of a and row i of b are of one class, [N]."""
        return self.sim(a_ND[:, None], b_ND[:, None])[:, 0, 0].sigmoid()

    def at_collapse(self, labels_N: Tensor | None = None) -> float:
        """ln 2: every pair has probability 1/2."""
        return math.log(2)


class VAE(nn.Module):
    """Variational autoencoder: reconstructs the image from the embedding.

    loss    -log p(image | z) + beta * KL(q(z | image) || N(0, 1)), summed over pixels and over dim, mean over
            images; labels are not used. z = mean + std * noise in training, the mean in evaluation
    learns  the log-variance of q, linear in the features and initially 0, and the decoder dim -> hidden -> pixels;
            the mean of q is the embedding, so normalize=False
    pixels  likelihood="bernoulli": cross-entropy of pixels in [0, 1]; likelihood="gaussian": half their squared
            error
    paper   Kingma and Welling, 2014. https://arxiv.org/abs/1312.6114
    at collapse  depends on the images
    use     data without labels, or in a `sum` as a regulariser; `decode` reconstructs the image of an embedding
    PML     not included

    Needs batch.images (uint8, or floats in the range of the likelihood) and batch.features; notes
    reconstruction and kl.

    >>> vae = losses.build("vae()", dim=8, shape=(1, 28, 28), width=32)
    >>> vae.decode(torch.zeros(2, 8)).shape
    torch.Size([2, 1, 28, 28])
    """

    def __init__(
        self,
        *,
        dim: int,
        shape: tuple[int, ...],
        width: int,
        hidden: int = 512,
        beta: float = 1.0,
        likelihood: str = "bernoulli",
    ):
        super().__init__()
        if likelihood not in LIKELIHOODS:
            raise ValueError(f"vae has a likelihood 'bernoulli' or 'gaussian', got {likelihood!r}")
        self.shape, self.beta, self.likelihood = tuple(shape), beta, likelihood
        self.log_variance = nn.Linear(width, dim)
        nn.init.zeros_(self.log_variance.weight)
        nn.init.zeros_(self.log_variance.bias)
        self.decoder = nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, math.prod(shape)))

    def forward(self, emb_ND: Tensor, labels_N: Tensor, batch: BatchContext | None = None) -> Tensor:
        if batch is None or batch.images is None or batch.features is None:
            raise ValueError("vae needs the images and the features: call loss(emb, labels, batch=BatchContext(...))")
        check(emb_ND, labels_N)
        check_width(emb_ND, self.log_variance.out_features, "vae")
        dtype = self.log_variance.weight.dtype
        emb_ND, log_var_ND = emb_ND.to(dtype), self.log_variance(batch.features.to(dtype))
        noise_ND = torch.randn_like(emb_ND) if self.training else torch.zeros_like(emb_ND)
        if batch.own is not None:  # images and features are those of this process
            emb_ND, noise_ND = (of_anchors(x, 1 + batch.partners, batch.own) for x in (emb_ND, noise_ND))
        logit_NX = self.decoder(emb_ND + noise_ND * (0.5 * log_var_ND).exp())
        error = mean(LIKELIHOODS[self.likelihood](logit_NX, self.target(batch.images)).sum(-1), batch)
        kl = 0.5 * mean((emb_ND.square() + log_var_ND.exp() - 1 - log_var_ND).sum(-1), batch)
        batch.notes.update(reconstruction=error.detach(), kl=kl.detach())
        return error + self.beta * kl

    def target(self, images: Tensor) -> Tensor:
        """Target of the decoder, [N, C * H * W]."""
        if tuple(images.shape[1:]) != self.shape:
            raise ValueError(f"vae draws images of shape {self.shape}, but the batch has {tuple(images.shape[1:])}")
        pixels_NX = images.flatten(1).to(self.log_variance.weight.dtype) / (1 if images.is_floating_point() else 255)
        if self.likelihood == "bernoulli" and seen_outside_unit(pixels_NX):
            raise ValueError("a 'bernoulli' vae takes pixels in [0, 1]; use vae(likelihood='gaussian') for these")
        return pixels_NX

    @torch.no_grad()
    def decode(self, z_ND: Tensor) -> Tensor:
        """The image of each embedding, float [N, C, H, W]."""
        drawn_NX = self.decoder(z_ND)
        return (drawn_NX.sigmoid() if self.likelihood == "bernoulli" else drawn_NX).unflatten(1, self.shape)

    def at_collapse(self, labels_N: Tensor | None = None) -> None:
        """None: it depends on the images."""


def mean(value_N: Tensor, batch: BatchContext) -> Tensor:
    """The mean over the batch, of which a process may have some rows only."""
    if batch.own is None:
        return value_N.mean()
    return reduce([Terms(value_N, torch.ones_like(value_N, dtype=torch.long))], over_ranks=True)


def gaussian(mean_NX: Tensor, target_NX: Tensor) -> Tensor:
    return 0.5 * (mean_NX - target_NX).square()


LIKELIHOODS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "bernoulli": partial(F.binary_cross_entropy_with_logits, reduction="none"),
    "gaussian": gaussian,
}


def seen_outside_unit(x: Tensor) -> bool:
    """Whether a value lies outside [0, 1]; checked on a CPU only, to avoid synchronising with a GPU."""
    return x.device.type == "cpu" and bool(((x < 0) | (x > 1)).any())


class VICReg(nn.Module):
    """Variance-invariance-covariance regularisation of two views of each image.

    loss    invariance * mean (a - b)^2 + variance * mean over dim of relu(1 - sqrt(var + eps)), averaged over the
            views, + covariance * sum over d != e of cov_de^2 / dim, summed over the views
    paper   Bardes, Ponce and LeCun, 2022. https://arxiv.org/abs/2105.04906
    at collapse  variance * (1 - sqrt(eps))
    use     data without labels and small batches: needs no negatives; the batch is all first views, then all second
            views. normalize=False
    PML     the same

    >>> views = torch.tensor([[1.0, 2.0], [3.0, 4.0], [1.0, 2.0], [3.0, 4.0]])
    >>> round(losses.build("vicreg()")(views, torch.tensor([0, 1, 0, 1])).item(), 4)
    8.0
    """

    def __init__(self, *, invariance: float = 25.0, variance: float = 25.0, covariance: float = 1.0, eps: float = 1e-4):
        super().__init__()
        self.invariance, self.variance, self.covariance, self.eps = invariance, variance, covariance, eps

    def forward(self, emb_ND: Tensor, labels_N: Tensor, batch: BatchContext | None = None) -> Tensor:
        a_ND, b_ND = views(emb_ND, labels_N, batch)
        invariance = self.invariance * (a_ND - b_ND).square().mean()
        return invariance + self.alive(a_ND) + self.alive(b_ND)

    def alive(self, x_ND: Tensor) -> Tensor:
        """The terms of one view: half its variance term, and its covariance term."""
        x_ND = x_ND - x_ND.mean(0)
        cov_DD = x_ND.mT @ x_ND / max(len(x_ND) - 1, 1)
        var_D = cov_DD.diagonal()
        off_diagonal = cov_DD.square().sum() - var_D.square().sum()
        return self.variance * (1 - (var_D + self.eps).sqrt()).relu().mean() / 2 + self.covariance * off_diagonal / len(
            var_D
        )

    def at_collapse(self, labels_N: Tensor | None = None) -> float:
        """The variance term at variance 0."""
        return self.variance * max(0.0, 1 - self.eps**0.5)


class BarlowTwins(nn.Module):
    """Cross-correlation of two views of each image close to the identity matrix.

    loss    sum over d of (1 - C_dd)^2 + redundancy * sum over d != e of C_de^2, C the correlation over the batch of
            dimension d of the first view and e of the second
    paper   Zbontar et al., 2021. https://arxiv.org/abs/2103.03230
    at collapse  dim
    use     as vicreg; needs a wide embedding. normalize=False
    PML     not included

    >>> losses.build("barlow()", dim=64).at_collapse()
    64.0
    """

    def __init__(self, *, dim: int, redundancy: float = 0.0051):
        super().__init__()
        self.dim, self.redundancy = dim, redundancy

    def forward(self, emb_ND: Tensor, labels_N: Tensor, batch: BatchContext | None = None) -> Tensor:
        a_ND, b_ND = (standard(view) for view in views(emb_ND, labels_N, batch))
        corr_DD = a_ND.mT @ b_ND / len(a_ND)
        same_D = corr_DD.diagonal()
        return (1 - same_D).square().sum() + self.redundancy * (corr_DD.square().sum() - same_D.square().sum())

    def at_collapse(self, labels_N: Tensor | None = None) -> float:
        """dim: the dimensions of the two views are uncorrelated."""
        return float(self.dim)


def views(emb_ND: Tensor, labels_N: Tensor, batch: BatchContext | None) -> tuple[Tensor, Tensor]:
    """First and second views, the halves of the batch. Errors: ValueError if their labels differ."""
    check(emb_ND, labels_N)
    partners = batch.partners if batch else 0
    half = len(labels_N) // 2
    agree = labels_N.device.type != "cpu" or torch.equal(labels_N[:half], labels_N[half:])
    if partners > 1 or len(labels_N) % 2 or not agree:
        raise ValueError(
            "this loss compares two views of each image: first views, then second views, of the same labels; "
            f"the batch of {len(labels_N)} with partners={partners} is not that"
        )
    emb_ND = at_least_float32(emb_ND)
    return emb_ND[:half], emb_ND[half:]


def standard(x_ND: Tensor) -> Tensor:
    """Each dimension with mean 0 and variance 1 over the batch; constant dimensions become 0."""
    x_ND = x_ND - x_ND.mean(0)
    return x_ND / (x_ND.square().mean(0) + 1e-5).sqrt()


siamese_bce, vae, vicreg, barlow = SiameseBCE, VAE, VICReg, BarlowTwins
