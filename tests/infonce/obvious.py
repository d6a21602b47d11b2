"""The losses as their definitions say, one similarity at a time in float64: slow, and easy to believe."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def value_and_gradients(loss: Callable[..., Tensor], *inputs: Tensor) -> list[Tensor]:
    """The loss of copies of the inputs, and its gradient with respect to each of them."""
    leaves = [part.detach().clone().requires_grad_() for part in inputs]
    value = loss(*leaves)
    grad_output = torch.ones_like(value)
    return [value.detach(), *torch.autograd.grad(value, leaves, grad_output, allow_unused=True, materialize_grads=True)]


def units(*shape: int, seed: int) -> Tensor:
    """Random vectors of unit length in float64."""
    vectors = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return vectors / vectors.norm(dim=-1, keepdim=True)


def mask(*shape: int, seed: int, share: float = 0.3) -> Tensor:
    """A random mask of which about that share is true."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) < share


def one_loss(text: Tensor, right: Tensor, wrong: Sequence[Tensor], *, temperature: Tensor) -> Tensor:
    """Minus the log of the share that the right candidate has of all exponentiated similarities."""
    exponentials = [torch.exp(torch.dot(text, other) / temperature) for other in (right, *wrong)]
    return torch.log(torch.stack(exponentials).sum()) - torch.dot(text, right) / temperature


def each(
    anchors: Tensor, positives: Tensor, *, negatives: Tensor | None, masked: Tensor, temperature: Tensor, mode: str
) -> Tensor:
    """The loss of every anchor from anchor to document."""
    losses = []
    for i in range(len(anchors)):
        own: Sequence[Tensor] = [] if negatives is None else list(negatives[i] if mode == "paired" else negatives)
        hard = [negative for m, negative in enumerate(own) if not masked[i, len(anchors) + m]]
        others = [positives[j] for j in range(len(positives)) if j != i and not masked[i, j]]
        wrong = others + hard if negatives is None or mode == "shared" else hard
        losses.append(one_loss(anchors[i], positives[i], wrong, temperature=temperature))
    return torch.stack(losses)


def each_back(anchors: Tensor, positives: Tensor, *, masked: Tensor, temperature: Tensor) -> Tensor:
    """The loss of every positive from document to the batch's anchors."""
    losses = []
    for i in range(len(positives)):
        wrong = [anchors[j] for j in range(len(anchors)) if j != i and not masked[j, i]]
        losses.append(one_loss(positives[i], anchors[i], wrong, temperature=temperature))
    return torch.stack(losses)


def prefixes(vectors: Tensor, dims: Sequence[int] | None) -> list[Tensor]:
    """The vectors, and the beginning of each for every shorter length, brought to unit length again."""
    shorter = [dim for dim in dims or () if dim < vectors.shape[-1]]
    cut = [vectors[..., :dim] for dim in shorter]
    return [vectors, *(part / part.norm(dim=-1, keepdim=True) for part in cut)]


def weighted_mean(
    losses: Sequence[Tensor], *, dims: Sequence[int] | None, weights: Sequence[float] | None, whole: int
) -> Tensor:
    """The mean of the losses of `prefixes`, of which the whole weighs 1 unless its length is listed."""
    given = {} if dims is None else dict(zip(dims, weights or [1.0] * len(dims), strict=True))
    of_each = [given.get(whole, 1.0), *(weight for dim, weight in given.items() if dim < whole)]
    total = torch.zeros_like(losses[0])
    for weight, loss in zip(of_each, losses, strict=True):
        total = total + weight * loss
    return total / sum(of_each)


def nt_xent(views: Tensor, *, masked: Tensor, temperature: Tensor) -> Tensor:
    """The mean over views of the mean over the other views of the same thing."""
    num_views, size, _ = views.shape
    losses = []
    for v in range(num_views):
        for i in range(size):
            wrong = [
                views[w, j]
                for w in range(num_views)
                for j in range(size)
                if j != i and not masked[v * size + i, w * size + j]
            ]
            for w in range(num_views):
                if w != v:
                    losses.append(one_loss(views[v, i], views[w, i], wrong, temperature=temperature))
    return torch.stack(losses).mean()


def multi_positive(
    anchors: Tensor, candidates: Tensor, *, is_positive: Tensor, masked: Tensor, temperature: Tensor
) -> Tensor:
    """The mean over anchors of the mean over their positives, each against the anchor's negatives alone."""
    means = []
    for i, anchor in enumerate(anchors):
        wrong = [other for c, other in enumerate(candidates) if not is_positive[i, c] and not masked[i, c]]
        right = [other for c, other in enumerate(candidates) if is_positive[i, c]]
        losses = [one_loss(anchor, positive, wrong, temperature=temperature) for positive in right]
        means.append(torch.stack(losses).mean())
    return torch.stack(means).mean()
