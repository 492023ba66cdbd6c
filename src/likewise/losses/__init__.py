"""A loss = references x geometry x miner x rule x one division."""

from likewise.losses.build import build
from likewise.losses.defaults import default_geometry
from likewise.losses.gathered import across_ranks
from likewise.losses.pair import PairLoss
from likewise.losses.proxy import ProxyLoss
from likewise.losses.sharded import ShardedProxyLoss, check_shardable
from likewise.losses.terms import BatchContext, Terms

__all__ = [
    "BatchContext",
    "PairLoss",
    "ProxyLoss",
    "ShardedProxyLoss",
    "Terms",
    "across_ranks",
    "build",
    "check_shardable",
    "default_geometry",
]
