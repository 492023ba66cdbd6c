"""Crops of tracked objects, embedded in the plane, one class per video: triplets with mined negatives, two networks.

After JoseVillagranE/SiameseNetworks: frames of a tracking benchmark cut to the box, 200 x 200, the first 90 % of each
video for training, 5 epochs. `pick` says which negatives are picked; `positive='next'` of the sampler takes the next
frame, and `data="tracking(..., background=True)"` with `negative='last'` takes pieces of background. For TLP's first
ten videos write `data="tracking(path='TLP', sequences=10)"`. `likewise reproduce video-objects` trains all of them;
docs/forerunners.md has the results.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from likewise import geometry
from likewise.experiment.recipe import Recipe
from likewise.losses.pair import at_least_float32, check, notes
from likewise.losses.rules import triplet
from likewise.losses.terms import BatchContext, as_terms, reduce

__all__ = ["own_positive", "video_alexnet", "video_small"]


def video_small() -> Recipe:
    """32@5, 64@5, 64, 32 with PReLU to 2 numbers, three videos, random-hard negatives.

    command  likewise train video-small, with OTB's or TLP's sequences in the data
    result   OTB's Crossing, DragonBaby and Human3, the last tenth of each held out: silhouette 0.871 (0.788 to 0.917
             over seeds 0 to 2), knn@1 1.000, as the crops' own pixels have; of a new video silhouette 0.229
    time     52 CPU seconds

    The rate and the margin were chosen on frames before the last tenth; `likewise reproduce video-objects` shows how.
    """
    return Recipe(
        data="tracking(sequences=3, every=2)",
        val=0.0,  # frames have near-duplicates in their video, so a random validation part is meaningless
        size=200,
        network="small",
        dim=2,
        normalize=False,
        sim="sqeuclidean",
        loss="likewise.recipes.video_objects:own_positive(margin=1.0, pick='random-hard')",
        sampler="triplets(batch=16)",
        epochs=5,
        optimizer="adam()",
        lr=1e-4,
        schedule="constant",
        amp="always",
        eval_every_epochs=0,
    )


def video_alexnet() -> Recipe:
    """AlexNet to 2 numbers, else as the small network; from scratch, or with weights=FILE from torchvision's.

    command  likewise train video-alexnet
    result   as above: silhouette 0.865 (0.832 to 0.930), knn@1 1.000; of a new video silhouette 0.011
    time     44 CPU seconds
    """
    return video_small().replace(network="alexnet")


class OwnPositive(nn.Module):
    """Triplet loss of anchors with a positive each, with negatives selected from the whole batch.

    loss    relu(s_n - s_p + margin) over the selected triplets; see `triplet` for `pick`. Images of the anchor's
            class are never negatives, whichever row they were drawn for
    blind   ignore labels: images of the anchor's class may be negatives
    use     with sampler="triplets(...)", for special positives or negatives, for example the next frame
    """

    def __init__(
        self,
        *,
        sim: Callable = geometry.sqeuclidean,
        margin: float = 1.0,
        pick: str = "random-hard",
        blind: bool = False,
    ):
        super().__init__()
        self.sim, self.margin, self.blind = sim, margin, blind
        self.rule = partial(triplet, margin=margin, pick=pick)

    def forward(self, emb_ND: Tensor, labels_N: Tensor, batch: BatchContext | None = None) -> Tensor:
        check(emb_ND, labels_N)
        if batch is None or batch.partners != 2:
            raise ValueError("own_positive takes anchors, positives and negatives; give sampler='triplets(batch=16)'")
        terms = as_terms(self.rule(*self.compared(at_least_float32(emb_ND), labels_N)))
        batch.notes.update(notes(terms))
        return reduce(terms)

    def compared(self, emb_ND: Tensor, labels_N: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """sim, pos, neg, each [N / 3, 1 + N / 3]: the anchor's own positive, then every row's negative."""
        (anchor_ND, alike_ND, unlike_MD), (label_N, _, of_M) = emb_ND.chunk(3), labels_N.chunk(3)
        own_N1 = self.sim(anchor_ND[:, None], alike_ND[:, None])[:, 0]
        neg_NM = (label_N[:, None] != of_M) | self.blind
        pos_N1 = torch.ones_like(neg_NM[:, :1])
        return (
            torch.cat([own_N1, self.sim(anchor_ND, unlike_MD)], -1),
            torch.cat([pos_N1, torch.zeros_like(neg_NM)], -1),
            torch.cat([~pos_N1, neg_NM], -1),
        )

    def at_collapse(self, labels_N: Tensor | None = None) -> float:
        """Loss of a collapsed embedding."""
        return self.margin


own_positive = OwnPositive
