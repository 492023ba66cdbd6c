"""The blocks of a network from input to output; a block is unfrozen as a whole and has one learning rate."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import ceil

from torch import nn

__all__ = ["Block", "blocks", "lr_multipliers", "unfreeze_schedule"]

STACKS = (nn.Sequential, nn.ModuleList)


@dataclass
class Block:
    """Layers that count as one, and their parameters with those that no layer owns, such as position embeddings."""

    layers: list[nn.Module] = field(default_factory=list)
    parameters: list[nn.Parameter] = field(default_factory=list)

    def add(self, unit: nn.Module | nn.Parameter) -> None:
        if isinstance(unit, nn.Module):
            self.layers.append(unit)
        self.parameters += [unit] if isinstance(unit, nn.Parameter) else unit.parameters()


def blocks(network: nn.Module) -> list[Block]:
    """A block for every layer or residual block, in the order in which they were written.

    A stack of layers is taken apart; whatever else has weights is one block; what has no weight matrix (a norm, an
    activation, a class token) belongs to the block before it, or to the first. A network without weights has none.
    """
    listed, first = [Block()], True
    for unit in units(network):
        if isinstance(unit, nn.Module) and has_weights(unit):
            if not first:
                listed.append(Block())
            first = False
        listed[-1].add(unit)
    return listed if listed[0].parameters else []


def units(module: nn.Module) -> Iterator[nn.Module | nn.Parameter]:
    yield from module.parameters(recurse=False)
    only = inner(module) if len(inner(module)) == 1 else []
    for child in module.children():
        if is_stack(child) or (child in only and not isinstance(child, STACKS) and inner(child)):
            yield from units(child)
        else:
            yield child


def is_stack(module: nn.Module) -> bool:
    """Several layers with weights one after the other, or what holds nothing but a list of like blocks."""
    if isinstance(module, STACKS):
        return len(inner(module)) > 1
    if len(inner(module)) != 1 or not isinstance(inner(module)[0], STACKS):
        return False
    listed = inner(inner(module)[0])
    return len({type(block) for block in listed}) == 1 and bool(inner(listed[0]))


def inner(module: nn.Module) -> list[nn.Module]:
    return [child for child in module.children() if has_weights(child)]


def has_weights(module: nn.Module) -> bool:
    return any(p.ndim > 1 for p in module.parameters())


def lr_multipliers(
    network: nn.Module, *, backbone_lr: float = 1.0, layer_decay: float = 1.0
) -> dict[nn.Parameter, float]:
    """Multiples of the learning rate: `backbone_lr` for the last block, then `layer_decay` times that of the next."""
    all_blocks = blocks(network)
    return {
        parameter: backbone_lr * layer_decay ** (len(all_blocks) - 1 - at)
        for at, block in enumerate(all_blocks)
        for parameter in block.parameters
    }


def unfreeze_schedule(network: nn.Module, frozen_epochs: int, unfreeze_epochs: int) -> Callable[[int], None]:
    """A function of the epoch that freezes untrained blocks; call it before each step, after `train()`.

    frozen_epochs: at the start nothing of the network is trained; -1 is always. unfreeze_epochs: over so many epochs
    its blocks then join, the last ones first; 0 is all at once. A frozen block is in eval mode: its BatchNorm keeps the
    statistics it came with, and it drops nothing.
    """
    all_blocks = blocks(network)
    trainable = [[p for p in block.parameters if p.requires_grad] for block in all_blocks]

    def call(epoch: int) -> None:
        frozen = len(all_blocks) - trainable_blocks(len(all_blocks), epoch, frozen_epochs, unfreeze_epochs)
        for at, (block, parameters) in enumerate(zip(all_blocks, trainable, strict=True)):
            for parameter in parameters:
                parameter.requires_grad_(at >= frozen)
            for layer in block.layers if at < frozen else ():
                layer.eval()
        if frozen == len(all_blocks):
            network.eval()

    return call


def trainable_blocks(count: int, epoch: int, frozen_epochs: int, unfreeze_epochs: int) -> int:
    """How many of `count` blocks are trained in an epoch, counted from the last."""
    if frozen_epochs < 0 or epoch < frozen_epochs:
        return 0
    return min(count, ceil(count * (epoch - frozen_epochs + 1) / max(1, unfreeze_epochs)))
