"""A batch larger than memory: its exact loss and gradient, chunk by chunk. Gao et al., 2021 (GradCache)."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from likewise.losses.terms import BatchContext

__all__ = ["cached"]


def cached(
    model: Callable[[Tensor], Tensor],
    loss: Callable[..., Tensor],
    images: Tensor,
    labels_N: Tensor,
    *,
    chunk: int,
    parts: int = 0,
    batch: BatchContext | None = None,
    backward: Callable[[Tensor], None] = Tensor.backward,
) -> Tensor:
    """The loss of the whole batch, detached; its gradient is added to every `.grad`, as `loss.backward()` would.

    Embeds chunk by chunk without a graph, takes the gradient by the embeddings [N, D], then embeds each chunk again,
    with the same random numbers (dropout, device augmentation), and passes its part of that gradient on. Memory is
    that of one chunk of images and of the loss; time is one more forward pass. Any model, any loss that looks at
    embeddings. backward: how to start, such as `lambda t: scaler.scale(t).backward()`. parts: the least number of
    chunks, of which the last may be empty, so that several processes make as many. Batch normalisation is over a chunk,
    not over the batch, and its running statistics see every chunk twice. Errors: ValueError for a chunk below 1.
    """
    if chunk < 1:
        raise ValueError(f"a chunk holds at least one image, got chunk={chunk}")
    chunks = [*images.split(chunk)]
    chunks += [images[:0]] * (parts - len(chunks))
    emb_ND, states = embed(model, chunks)
    emb_ND.requires_grad_()
    value = loss(emb_ND, labels_N, batch)
    backward(value)
    # Some releases of torch let autocast hand the second pass the weights it cast in the first, which had no graph.
    torch.clear_autocast_cache()
    after = random_state(images.device)
    grad_ND = torch.zeros_like(emb_ND) if emb_ND.grad is None else emb_ND.grad
    for part, state, grad in zip(chunks, states, grad_ND.split([len(part) for part in chunks]), strict=True):
        restore(state, images.device)
        model(part).backward(grad)
    restore(after, images.device)
    return value.detach()


@torch.no_grad()
def embed(model: Callable[[Tensor], Tensor], parts: Sequence[Tensor]) -> tuple[Tensor, list[list[Tensor]]]:
    """Embeddings [N, D], and the state of the random numbers before each chunk."""
    rows, states = [], []
    for part in parts:
        states.append(random_state(part.device))
        rows.append(model(part))
    return torch.cat(rows), states


def random_state(device: torch.device) -> list[Tensor]:
    """Generator states a model may draw from: the CPU's, and the device's own."""
    own = [torch.cuda.get_rng_state(device)] if device.type == "cuda" else []
    return [torch.get_rng_state(), *own]


def restore(state: list[Tensor], device: torch.device) -> None:
    torch.set_rng_state(state[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(state[1], device)
