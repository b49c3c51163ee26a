"""Muon whose matrix products are in a number format that the hardware multiplies quickly."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

Coefficients = tuple[float, float, float]


class Muon(torch.optim.Muon):
    """`torch.optim.Muon`, which always multiplies in bf16, in a given number format.

    On a CPU without bf16 a product in it is up to twenty times slower than in fp32. Updates are as large as AdamW's, so
    that one rate serves both (Liu et al., 2025, arXiv:2502.16982). Matrices of one shape are orthogonalized together.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], rate: float, weight_decay: float, dtype: torch.dtype
    ) -> None:
        """Make the optimizer.

        Args:
            parameters: Matrices, (rows, columns).
            rate: The learning rate.
            weight_decay: Share of the rate by which each step shrinks the matrices.
            dtype: The number format of matrix products.
        """
        super().__init__(list(parameters), lr=rate, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")
        self._dtype = dtype

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Move every matrix that has a gradient."""
        assert closure is None
        for group in self.param_groups:
            matrices: list[torch.Tensor] = []
            gradients: list[torch.Tensor] = []
            momenta: list[torch.Tensor] = []
            self._init_group(group, matrices, gradients, momenta)
            if matrices:
                self._move(matrices, gradients, momenta, group)

    def _move(
        self,
        matrices: list[torch.Tensor],
        gradients: list[torch.Tensor],
        momenta: list[torch.Tensor],
        group: dict[str, Any],
    ) -> None:
        torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
        updates = list(torch._foreach_lerp(gradients, momenta, group["momentum"])) if group["nesterov"] else momenta
        torch._foreach_mul_(matrices, 1 - group["lr"] * group["weight_decay"])
        for places in _places_by_shape(updates):
            # Parts of a matrix that is spread over devices cannot be stacked.
            together = [places] if type(updates[places[0]]) is torch.Tensor else [[place] for place in places]
            for batch in together:
                stacked = torch.stack([updates[place] for place in batch]) if len(batch) > 1 else updates[batch[0]]
                made = orthogonalize(stacked, self._dtype, group["ns_coefficients"], group["ns_steps"], group["eps"])
                rows, columns = updates[batch[0]].shape
                rate = group["lr"] * 0.2 * max(rows, columns) ** 0.5
                for place, one in zip(batch, made.unbind() if len(batch) > 1 else [made], strict=True):
                    matrices[place].add_(one, alpha=-rate)


def orthogonalize(
    matrices: torch.Tensor, dtype: torch.dtype, coefficients: Coefficients, steps: int, epsilon: float
) -> torch.Tensor:
    """Return matrices with the same singular vectors and singular values near 1, in fp32.

    The quintic Newton-Schulz iteration of Jordan et al. (2024, https://kellerjordan.github.io/posts/muon).

    Args:
        matrices: (rows, columns) or (batch, rows, columns).
        dtype: The number format of the products.
        coefficients: Of the polynomial: those of x, x^3 and x^5.
        steps: Number of iterations.
        epsilon: The least norm that is divided by.
    """
    linear, cubic, quintic = coefficients
    is_tall = matrices.size(-2) > matrices.size(-1)
    x = matrices.mT if is_tall else matrices
    x = (x / torch.linalg.matrix_norm(x, keepdim=True).clamp(min=epsilon)).to(dtype)
    add = torch.baddbmm if x.ndim == 3 else torch.addmm
    for _ in range(steps):
        gram = x @ x.mT
        x = add(x, add(gram, gram, gram, beta=cubic, alpha=quintic), x, beta=linear)
    return (x.mT if is_tall else x).float()


def _places_by_shape(tensors: list[torch.Tensor]) -> list[list[int]]:
    places: dict[torch.Size, list[int]] = {}
    for place, tensor in enumerate(tensors):
        places.setdefault(tensor.shape, []).append(place)
    return list(places.values())
