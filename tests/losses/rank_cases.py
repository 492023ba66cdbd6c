"""Twenty steps of a small model on one loss: with one process, or with several that share each batch."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from likewise import distributed, losses
from likewise.losses.class_labels import ClassLabels, paths, tags
from likewise.losses.terms import BatchContext

ROWS, WIDE, DIM, CLASSES, STEPS = 12, 5, 4, 3, 20
NAMES = ("a/x|r", "a/y|s", "b/x|r|s")


@dataclass(frozen=True)
class Case:
    """A loss with the options of `losses.build`."""

    loss: str
    miner: str = ""
    sim: str = "cosine"
    memory: int = 0
    balanced: bool = False
    tile: int = 0
    relation: str = ""
    partners: int = 0

    def build(self) -> nn.Module:
        loss = losses.build(
            self.loss,
            miner=self.miner or None,
            sim=self.sim,
            dim=DIM,
            classes=CLASSES,
            counts=[4, 9, 2],
            memory=self.memory,
            balanced=self.balanced,
            tile=self.tile or None,
            relation=self.relation or None,
            shape=(WIDE,),
            width=6,
            teacher=WIDE,
        )
        if not self.relation:
            return loss
        return ClassLabels(loss, (paths if self.relation.startswith("level") else tags)(NAMES))


# families: pair, mined, memory, relation, partners, proxy, head, combination
QUICK = (
    Case("contrastive(pos_at=1, neg_at=0.2)"),
    Case("supcon", tile=3, balanced=True),
    Case("triplet(pick='hard')"),
    Case("ntxent", memory=17),
    Case("arcface(scale=8)"),
    Case("siamese_bce"),
)
MORE = (
    Case("triplet(margin=0.5)"),
    Case("triplet(margin=0.9, pick='semihard')"),
    Case("triplet(margin=0.9, pick='random-hard')"),
    Case("triplet(swap=True)"),
    Case("multi_similarity"),
    Case("circle(scale=8)"),
    Case("lifted"),
    Case("generalized_lifted"),
    Case("npairs"),
    Case("angular(alpha=20)"),
    Case("histogram(bins=10)"),
    Case("smooth_ap"),
    Case("fast_ap"),
    Case("centroid_triplet"),
    Case("intra_pair_variance"),
    Case("margin", miner="distance_weighted(dim=4)"),
    Case("contrastive(pos_at=1, neg_at=0)", miner="hard"),
    Case("ntxent", miner="nearest(k=2)"),
    Case("triplet", miner="angular"),
    Case("learned_margin"),
    *(Case(name) for name in ("nca", "siglip", "decoupled", "ranked_list", "multi_ntxent", "threshold_consistent")),
    Case("tuplet_margin(scale=8)"),
    Case("snr_contrastive", sim="snr"),
    Case("contrastive(pos_at=1, neg_at=0)", memory=40),
    Case("siamese_bce", memory=9),
    Case("ntxent", relation="level(depth=0)"),
    Case("triplet(margin=0.5)", relation="jaccard(at=0.2)"),
    Case("contrastive(pos_at=1, neg_at=0)", partners=1),
    Case("triplet(margin=0.5)", partners=2),
    Case("softmax"),
    Case("normalized_softmax"),
    Case("cosface(scale=8)"),
    Case("dynamic_arcface(scale=8)"),
    Case("subcenter_arcface(scale=8)"),
    Case("sphereface"),
    Case("proxy_nca"),
    Case("proxy_nca_pp"),
    Case("proxy_anchor(alpha=4)"),
    Case("soft_triple(centres=2)"),
    Case("center_loss"),
    Case("p2sgrad"),
    Case("vicreg"),
    Case("barlow"),
    Case("vae(likelihood='gaussian', hidden=8)"),
    Case("rkd"),
    Case("mimic"),
    Case("koleo"),
    Case("uniformity(same=False)"),
    Case("spherical"),
    Case("sum(losses=['ntxent', 'koleo(same=False)'], weights=[1, 0.1])"),
    Case("sum(losses=['triplet', 'softmax'], weights=[1, 0.5])"),
    Case("matryoshka(loss='ntxent', dims=[2, 4])"),
)


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features, self.head = nn.Sequential(nn.Linear(WIDE, 6), nn.Tanh()), nn.Linear(6, DIM)


def trained(case: Case, sizes: tuple[int, ...], dtype: torch.dtype, *, ddp: bool = False) -> dict[str, Tensor]:
    """Weights of network and loss after STEPS steps, and the losses; sizes: anchors of each process."""
    torch.manual_seed(0)
    network, loss_fn = Network().to(dtype), case.build().to(dtype)
    images = torch.rand(STEPS, ROWS * (1 + case.partners), WIDE, dtype=dtype)
    labels = torch.randint(CLASSES, (STEPS, ROWS), dtype=torch.int64)
    labels = torch.cat([labels, labels.flip(1), labels.roll(1, 1)][: 1 + case.partners], 1)
    if case.loss in ("vicreg", "barlow"):
        labels = torch.cat([labels[:, : ROWS // 2]] * 2, 1)
    params = [*network.parameters(), *loss_fn.parameters()]
    optimizer = torch.optim.SGD(params, 0.005, momentum=0.9)
    network.train(), loss_fn.train()
    values = []
    for image, label in zip(images, labels, strict=True):
        own = rows_of(sizes, case.partners)
        features = network.features(image[own])
        batch = BatchContext(image[own], features, partners=case.partners, teacher=image)
        loss = losses.across_ranks(loss_fn, network.head(features), label[own], batch)
        loss.backward()
        distributed.average_gradients(params)
        optimizer.step()
        optimizer.zero_grad()
        values.append(
            torch.stack([loss.detach(), *(batch.notes[k].to(dtype) for k in ("active", "empty") if k in batch.notes)])
        )
    state = {f"network.{k}": v for k, v in network.state_dict().items()}
    state |= {f"loss.{k}": v for k, v in loss_fn.state_dict().items()}
    return {k: v.double().clone() for k, v in state.items()} | {"values": torch.stack(values).double()}


def rows_of(sizes: tuple[int, ...], partners: int) -> Tensor:
    """The rows of this process: a run of anchors, and their partners in each block."""
    if distributed.world_size() == 1:
        return torch.arange(ROWS * (1 + partners))
    start = sum(sizes[: distributed.rank()])
    blocks = torch.arange(ROWS * (1 + partners)).view(1 + partners, ROWS)
    return blocks[:, start : start + sizes[distributed.rank()]].flatten()


def all_trained(cases: tuple[Case, ...], sizes: tuple[int, ...], dtype: torch.dtype) -> list[dict[str, Tensor]]:
    return [trained(case, sizes, dtype) for case in cases]


def apart(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    """The relative difference of all weights as one vector, or of the values of the loss where that is larger."""
    assert a.keys() == b.keys()
    pairs = [[torch.cat([x[k].flatten() for k in x if k != "values"]) for x in (a, b)], (a["values"], b["values"])]
    return max(float((x - y).norm() / y.norm()) for x, y in pairs)


def gradients(case: Case, sizes: tuple[int, ...], wrapped: bool) -> list[Tensor]:
    """Gradients of the first step, by torch's DistributedDataParallel where `wrapped`."""
    torch.manual_seed(0)
    network, loss_fn = nn.Linear(WIDE, DIM).double(), case.build().double()
    image, label = torch.rand(ROWS, WIDE, dtype=torch.float64), torch.arange(ROWS) % CLASSES
    own = rows_of(sizes, 0)
    model = nn.parallel.DistributedDataParallel(network) if wrapped else network
    losses.across_ranks(loss_fn, model(image[own]), label[own]).backward()
    return [p.grad.clone() for p in network.parameters()]


__all__ = ["MORE", "QUICK", "Case", "all_trained", "apart", "gradients", "trained"]
