"""A loss = references x geometry x miner x rule x one division."""

from likewise.losses.build import build
from likewise.losses.pair import PairLoss
from likewise.losses.prefer import home
from likewise.losses.proxy import ProxyLoss
from likewise.losses.terms import Encoded, Terms

__all__ = ["Encoded", "PairLoss", "ProxyLoss", "Terms", "build", "home"]
