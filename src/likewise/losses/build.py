"""A loss from its name: `build("ntxent(temperature=0.07)", miner="hard")`."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypedDict

from torch import Tensor, nn

from likewise import spec
from likewise.losses.interop import PREFIX, PMLLoss, PMLMined, miner_of_ours, pml
from likewise.losses.memory import Memory
from likewise.losses.pair import PairLoss
from likewise.losses.proxy import ProxyLoss
from likewise.losses.sharded import ShardedProxyLoss, check_shardable
from likewise.match import Relation

__all__ = ["build", "family"]

OF_PROXIES = ("centres", "lr_scale")  # keywords of ProxyLoss that every proxy rule accepts
# Options that change the loss and apply to comparisons within a batch only, and the keyword of a class for each.
PAIRS_ONLY = {"miner": "miner", "memory": "references", "balanced": "balanced", "relation": "relation"}


class Around(TypedDict):
    """What a loss may need of the training around it: the keywords of `build`."""

    sim: str
    miner: str | None
    dim: int | None
    classes: int | None
    counts: Sequence[int] | Tensor | None
    memory: int
    memory_warmup_steps: int
    balanced: bool
    tile: int | None
    relation: str | Relation | None
    shape: tuple[int, ...] | None
    width: int | None
    teacher: int | None
    proxy_share: float


def build(
    text: str,
    *,
    sim: str = "cosine",
    miner: str | None = None,
    dim: int | None = None,
    classes: int | None = None,
    counts: Sequence[int] | Tensor | None = None,
    memory: int = 0,
    memory_warmup_steps: int = 0,
    balanced: bool = False,
    tile: int | None = None,
    relation: str | Relation | None = None,
    shape: tuple[int, ...] | None = None,
    width: int | None = None,
    teacher: int | None = None,
    proxy_share: float = 0.0,
) -> nn.Module:
    """A loss module from its name, to be called as `loss(emb [N, dim], labels [N], batch=None) -> scalar`.

    sim, miner, relation: also names; a proxy rule has its own geometry. dim: of the embedding. classes, counts: number
    of training classes, and of images of each. memory: number of earlier embeddings that a pair rule also compares
    with, after `memory_warmup_steps` batches. balanced, tile: see PairLoss. shape, width: of an image, and of the
    features before the embedding, for heads that need them; teacher: of the vectors to distil. proxy_share: above 0, a
    ShardedProxyLoss of that share, with sparse gradients. Options that do not apply to a loss are ignored, except
    miner, memory, balanced and relation, which would change what is learned.
    Errors: ValueError (SpecError for names).
    """
    around: Around = {
        "sim": sim,
        "miner": miner,
        "dim": dim,
        "classes": classes,
        "counts": counts,
        "memory": memory,
        "memory_warmup_steps": memory_warmup_steps,
        "balanced": balanced,
        "tile": tile,
        "relation": relation,
        "shape": shape,
        "width": width,
        "teacher": teacher,
        "proxy_share": proxy_share,
    }
    if proxy_share:
        check_shardable(text)
    return MAKERS[family(text)](text, around)


def family(text: str) -> str:
    """The kind of a loss: "pair", "proxy", "head", "combination" or "pml". Errors: SpecError for an unknown one."""
    name, _ = spec.parse(text)
    if name.startswith(PREFIX):
        return "pml"
    function = spec.find("loss", name)
    if not inspect.isclass(function):
        return "proxy" if hasattr(function, "over") else "pair"
    return "combination" if "make" in inspect.signature(function).parameters else "head"


def build_pair(text: str, around: Around) -> nn.Module:
    rule, miner = spec.bind("loss", text), around["miner"]
    given: spec.Keywords = {"sim": spec.bind("sim", around["sim"]), **pair_options(text, around)}
    if miner and miner.startswith(PREFIX):
        if around["memory"]:
            raise ValueError(f"miner {miner} looks within the batch only; leave out memory={around['memory']}")
        return PMLMined(rule, theirs=pml("miners", miner), **given)
    return PairLoss(rule, miner=bound_miner(miner), **given)


def pair_options(text: str, around: Around) -> spec.Keywords:
    """Keywords of PairLoss that are not its defaults."""
    relation = around["relation"]
    relation = spec.bind("relation", relation) if isinstance(relation, str) else relation
    options = {"tile": around["tile"], "relation": relation, "balanced": around["balanced"]}
    given = {**options, "references": references(text, around)}
    return {k: v for k, v in given.items() if v is not None}


def build_proxy(text: str, around: Around) -> nn.Module:
    classes, dim = around["classes"], around["dim"]
    refuse(text, "compares with class proxies, not with other embeddings", around)
    if not classes or not dim:
        raise ValueError(f"{text} learns a proxy for each class: it needs classes and dim, got {classes=} and {dim=}")
    if share := around["proxy_share"]:
        return ShardedProxyLoss(text, classes=classes, dim=dim, share=share, sparse=share < 1)
    name, settings = spec.parse(text)
    rule = spec.find("loss", name)
    takes = [*dict.fromkeys([*spec.keywords(rule), *OF_PROXIES])]
    for key in settings:
        if key not in takes:
            raise spec.SpecError(f"loss {name} takes no {key!r}{spec.near(key, takes)}")
    own = {k: settings.pop(k) for k in OF_PROXIES if k in settings}
    return ProxyLoss(partial(rule, **settings), classes=classes, dim=dim, counts=around["counts"], **own)


def build_module(text: str, around: Around) -> nn.Module:
    """A class of the package or the user, called with the keywords that its constructor names."""
    name, settings = spec.parse(text)
    asked = inspect.signature(spec.find("loss", name)).parameters
    if "make" not in asked:
        refuse(text, "is not a rule over pairs", {k: v for k, v in around.items() if PAIRS_ONLY.get(k) not in asked})
    known: spec.Keywords = {
        **around,
        "sim": spec.bind("sim", around["sim"]),
        "miner": bound_miner(around["miner"]),
        "references": references(text, around),
        "make": partial(make_part, around=around),
    }
    given = {k: known[k] for k in asked if k in known and k not in settings}
    for key, parameter in asked.items():
        if parameter.default is parameter.empty and (given | settings).get(key) is None:
            raise ValueError(
                f"{name} needs {key}: {'give it to build' if key in known else f'write {name}({key}=...)'}"
            )
    return spec.bind("loss", text, **given)()


def make_part(text: str, *, around: Around, **different: object) -> nn.Module:
    """A loss inside a combination, with the miner, memory and balance if it accepts them."""
    asked = () if family(text) == "pml" else inspect.signature(spec.find("loss", spec.parse(text)[0])).parameters
    takes_all = family(text) in ("pair", "combination")
    keywords: spec.Keywords = {
        k: v for k, v in around.items() if takes_all or k not in PAIRS_ONLY or PAIRS_ONLY[k] in asked
    }
    return build(text, **keywords | different)


def build_pml(text: str, around: Around) -> nn.Module:
    miner = around["miner"]
    refuse(text, "has references and a reducer of its own", {**around, "miner": None})
    loss = pml("losses", text, dim=around["dim"], classes=around["classes"])
    if miner and not miner.startswith(PREFIX):
        return PMLLoss(loss, miner_of_ours(spec.bind("miner", miner), spec.bind("sim", around["sim"])))
    return PMLLoss(loss, pml("miners", miner) if miner else None)


MAKERS: dict[str, Callable[[str, Around], nn.Module]] = {
    "pair": build_pair,
    "proxy": build_proxy,
    "head": build_module,
    "combination": build_module,
    "pml": build_pml,
}


def bound_miner(miner: str | None) -> Callable | None:
    if miner and miner.startswith(PREFIX):
        raise spec.SpecError(f"miner {miner} goes with a rule over pairs, or with a loss of its own library")
    return spec.bind("miner", miner) if miner else None


def references(text: str, around: Around) -> Memory | None:
    dim, memory = around["dim"], around["memory"]
    if not memory:
        return None
    if not dim:
        raise ValueError(f"{text} with memory={memory} keeps embeddings: it needs dim, got {dim=}")
    return Memory(memory, dim, warmup_steps=around["memory_warmup_steps"])


def refuse(text: str, why: str, around: Mapping[str, object]) -> None:
    """Errors: ValueError for an option that does not apply to the loss and would change what is learned."""
    for what in PAIRS_ONLY:
        if around.get(what):
            raise ValueError(f"{text} {why}, so it takes no {what}, got {what}={around[what]!r}; leave it out")
