"""Every loss, miner, similarity, sampler and metric on fixed inputs: a part of tools/fingerprint.py."""

import contextlib
from dataclasses import dataclass, field
from typing import Any

from fingerprint_digests import ALIASES, attempt, digest, public


def batch(n: int = 24, classes: int = 4, dim: int = 8) -> tuple[Any, Any]:
    import torch

    g = torch.Generator().manual_seed(0)
    labels_N = torch.arange(n) % classes
    centres_CD = torch.randn(classes, dim, generator=g, dtype=torch.float64)
    return centres_CD[labels_N] + 0.8 * torch.randn(n, dim, generator=g, dtype=torch.float64), labels_N


SIMS = {"lifted": "euclidean", "generalized_lifted": "euclidean", "snr_contrastive": "snr", "npairs": "dot"}
VARIANTS = (
    "triplet(pick='hard')", "triplet(pick='semihard')", "triplet(pick='random-hard')", "triplet(pick='easy-positive')",
    "triplet(soft=True)", "triplet(swap=True)", "contrastive(margin=1.5)", "multi_ntxent(positives='in')",
    "matryoshka(loss='triplet', dims=[4, 8])", "matryoshka(loss='arcface', dims=[4, 8], weights=[1, 2])",
    "sum(losses=['triplet', 'contrastive'], weights=[1, 0.5])", "sum(losses=['supcon', 'cosface'])",
    "arcface(easy=True)", "subcenter_arcface(centres=2)", "vae(likelihood='gaussian')", "learned_margin(nu=0.1)",
)  # fmt: skip


@dataclass
class Batch:
    """What a loss may look at beside embeddings and labels."""

    images: Any = None
    features: Any = None
    partners: int = 0
    notes: dict[str, Any] = field(default_factory=dict)


def losses() -> dict[str, Any]:
    import likewise.spec as spec

    texts = [name for name in spec.names("loss") if name not in ("matryoshka", "sum")]
    found = {text: attempt(lambda t=text: loss(t)) for text in [*texts, *VARIANTS]}
    for miner in spec.names("miner"):
        found[f"contrastive, {miner}"] = attempt(lambda m=miner: loss("contrastive", miner=m))
    for text in ("triplet", "supcon", "circle"):
        found[f"{text}, memory"] = attempt(lambda t=text: loss(t, memory=40))
        found[f"{text}, tile"] = attempt(lambda t=text: loss(t, tile=5))
        found[f"{text}, balanced"] = attempt(lambda t=text: loss(t, balanced=True))
        for sim in spec.names("sim"):
            found[f"{text}, {sim}"] = attempt(lambda t=text, s=sim: loss(t, sim=s))
    return found


def loss(text: str, partners: int = 0, **around: Any) -> dict[str, Any]:
    """Value, gradients and the loss at collapse of two calls (the second one has a memory to compare with)."""
    import torch

    import likewise

    torch.manual_seed(0)
    emb_ND, labels_N = batch()
    around = {"sim": SIMS.get(text.partition("(")[0], "cosine"), **around}
    module = likewise.build_loss(
        text, dim=8, classes=4, counts=[3, 5, 7, 9], shape=(1, 8, 8), width=12, **around
    ).double()
    images = torch.rand(len(emb_ND), 1, 8, 8, dtype=torch.float64)
    features = torch.randn(len(emb_ND), 12, dtype=torch.float64)
    values, gradients, of_parameters = [], [], []
    for call in range(2):
        x_ND = (emb_ND + 0.01 * call).requires_grad_()
        seen = Batch(images, features, partners)
        torch.manual_seed(call)
        value = module(x_ND, labels_N, seen)
        learned = [p for p in module.parameters() if p.requires_grad]
        gradient, *rest = torch.autograd.grad(value, [x_ND, *learned], allow_unused=True)
        values.append(value.item())
        gradients.append(None if gradient is None else [gradient.norm().item(), digest(gradient)])
        of_parameters.append(sorted(p.norm().item() for p in rest if p is not None))
    at_collapse = next((getattr(module, n) for n in ALIASES["chance"] if hasattr(module, n)), None)
    return {
        "value": values, "gradient": gradients, "of parameters": of_parameters,
        "at collapse": attempt(lambda: digest(at_collapse(labels_N))) if at_collapse else None,
    }  # fmt: skip


def partners() -> dict[str, Any]:
    import likewise.spec as spec

    names = [n for n in spec.names("loss") if n not in ("matryoshka", "sum")]
    return {
        f"{text}, {count} partners": attempt(lambda t=text, c=count: loss(t, partners=c))
        for text in names
        for count in (1, 2)
    }


def masks() -> tuple[Any, Any, Any]:
    import torch

    emb_ND, labels_N = batch()
    emb_ND = emb_ND / emb_ND.norm(dim=1, keepdim=True)
    same_NN = labels_N[:, None] == labels_N
    return emb_ND @ emb_ND.T, same_NN & ~torch.eye(len(labels_N), dtype=torch.bool), ~same_NN


def miners() -> dict[str, Any]:
    import torch

    import likewise.spec as spec

    def mined(name: str) -> Any:
        torch.manual_seed(0)
        return [[kept.sum().item(), digest(kept)] for kept in spec.find("miner", name)(*masks())]

    return {name: attempt(lambda n=name: mined(n)) for name in spec.names("miner")}


def similarities() -> dict[str, Any]:
    import likewise.spec as spec

    emb_ND, _ = batch()
    return {name: attempt(lambda n=name: digest(spec.find("sim", n)(emb_ND[:5], emb_ND))) for name in spec.names("sim")}


def samplers() -> dict[str, Any]:
    import torch

    import likewise.spec as spec

    g = torch.Generator().manual_seed(0)
    labels_N = torch.randint(0, 12, (500,), generator=g)
    texts = (
        "pairs(batch=32)", "pk(classes=5, images=6)", "shuffled(batch=64)", "triplets(batch=32)",
        "triplets(batch=32, positive='next')", "consecutive(batch=32)",
        "consecutive(batch=32, share=0.5, shuffle=True)",
        "kin(families=2, classes=3, images=4)",
    )  # fmt: skip

    def drawn(text: str) -> Any:
        for candidate in ALIASES.get(text, (text,)):
            with contextlib.suppress(spec.SpecError):
                draw = spec.bind("sampler", candidate)
                batches = [draw(labels_N, seed=0, epoch=epoch) for epoch in (0, 1)]
                return [[len(one), digest(torch.cat(list(one)))] for one in batches]
        raise LookupError(text)

    return {text: attempt(lambda t=text: drawn(t)) for text in texts}


def metrics() -> dict[str, Any]:
    """Every metric whose arguments are plain tensors, on three overlapping classes."""
    import torch

    emb_ND, labels_N = batch(60, 3)
    x_ND = emb_ND.float()
    cluster_N = (labels_N + (torch.arange(60) % 7 == 0)) % 3
    left_T, right_T = torch.triu_indices(60, 60, 1)
    unit_ND = torch.nn.functional.normalize(x_ND)
    score_T, same_T = (unit_ND[left_T] * unit_ND[right_T]).sum(1), labels_N[left_T] == labels_N[right_T]
    chance_T, fold_T = ((score_T + 1) / 2).clamp(0.01, 0.99), torch.arange(len(score_T)) % 5
    many_N = torch.arange(200) % 40
    near_Q = public("metrics.neighbours", "nearest")(x_ND[:20], x_ND[20:], 7)
    roc = public("metrics.verification", "roc")(score_T, same_T)
    ranked = public("metrics.verification", "rank")(score_T, same_T)
    pairs = public("metrics.pairs", "draw")(labels_N, 100)
    episodes = public("metrics.few_shot", "draw")(labels_N, ways=3, shots=2, queries=2, episodes=20)
    mean = public("metrics.intervals", "mean")
    ratio, other = mean((score_T > 0.3).float()), mean((score_T > 0.4).float())
    of_labels = ("agreement", "ami", "ari", "commonest", "information", "nmi", "purity")
    of_vectors = ("calinski_harabasz", "davies_bouldin", "silhouette", "simplified_silhouette")
    calls: dict[str, tuple[Any, ...]] = {
        **{f"clustering.{n}": (labels_N, cluster_N) for n in of_labels},
        **{f"clustering.{n}": (x_ND, labels_N) for n in of_vectors},
        "clustering.kmeans": (x_ND, 3),
        **{f"verification.{n}": (roc,) for n in ("auc", "det", "eer", "reached", "threshold")},
        "verification.curve": (ranked,),
        **{f"verification.{n}": (score_T, same_T) for n in ("rank", "roc")},
        "verification.decide": (score_T, same_T, 0.3),
        "verification.tar_at_far": (roc, 0.1),
        "verification.aim": ("far=0.001",),
        "verification.enough": (same_T, 0.01),
        "verification.fold_accuracy": (score_T, same_T, fold_T),
        "classification.centroids": (x_ND, labels_N),
        "classification.nearest_centroid": (x_ND[:20], x_ND[20:], labels_N[20:]),
        "classification.vote": (near_Q, labels_N[20:], 5),
        "classification.weighted_vote": (near_Q, labels_N[20:], 7),
        "few_shot.draw": (many_N,),
        "few_shot.right": (x_ND, episodes),
        "few_shot.one_shot_error": (score_T[:100].view(5, 20), torch.arange(5)),
        **{f"health.{n}": (x_ND, labels_N) for n in ("alignment", "spread")},
        **{f"health.{n}": (x_ND,) for n in ("effective_rank", "norms", "uniformity")},
        "health.occurrences": (near_Q[1], 40),
        "health.hubness": (torch.arange(12).float() ** 2,),
        **{f"calibration.{n}": (chance_T, same_T) for n in ("brier", "ece", "excess", "reliability")},
        **{f"calibration.{n}": (score_T, same_T) for n in ("isotonic", "platt")},
        "intervals.value": (ratio,),
        "intervals.bootstrap": ({"share": ratio},),
        "intervals.paired": (ratio, other),
        "intervals.holm": ({"a": 0.01, "b": 0.04, "c": 0.03},),
        "intervals.percentiles": (score_T,),
        "neighbours.nearest": (x_ND, x_ND, 9),
        "pairs.draw": (labels_N, 100),
        "pairs.draw_folds": (many_N, 50),
        "pairs.similarities": (x_ND, pairs),
        "pairs.even": (same_T,),
        "hausdorff.modified_hausdorff": (x_ND[:10, :2], x_ND[10:20, :2]),
        "hausdorff.points": (torch.eye(6) > 0,),
    }
    found = {f"metrics.{name}": attempt(lambda n=name, a=args: digest(called(n, a))) for name, args in calls.items()}
    for target in ("accuracy", "f1", "eer", "far=0.1", "precision=0.6"):
        found[f"threshold {target}"] = attempt(
            lambda t=target: digest(public("metrics.verification", "threshold")(roc, t))
        )
    return found


def called(name: str, args: tuple[Any, ...]) -> Any:
    module, _, function = name.rpartition(".")
    return public(f"metrics.{module}", function)(*args)
