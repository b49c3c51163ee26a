"""Draws of tokens that a seed decides, on every device and beside any other rows the same."""

from typing import Any

from modelmill.tasks.serving.settings import Sampling


class Draw:
    """A processor of scores that makes the largest a draw: a token's Gumbel noise is added to its score.

    See Maddison et al. (2014), https://arxiv.org/abs/1411.0030. Each row has a generator of its own.
    """

    def __init__(self, sampling: Sampling, rows: int) -> None:
        """Seed the generators.

        Args:
            sampling: How tokens are chosen; the temperature is not 0.
            rows: Rows of the batch.
        """
        import torch
        from transformers import TopKLogitsWarper, TopPLogitsWarper

        self._temperature = sampling.temperature
        self._limits: list[Any] = [TopKLogitsWarper(sampling.top_k)] if sampling.top_k else []
        if sampling.top_p < 1:
            self._limits.append(TopPLogitsWarper(sampling.top_p))
        self._generators = [torch.Generator() for _ in range(rows)]
        for one in self._generators:
            if sampling.seed is None:
                one.seed()
            else:
                one.manual_seed(sampling.seed)

    def __call__(self, ids: Any, scores: Any) -> Any:
        """Return scores with noise: float32, (rows, vocabulary)."""
        import torch

        scores = scores / self._temperature
        for limit in self._limits:
            scores = limit(ids, scores)
        noise = torch.stack([torch.empty(scores.shape[-1]).exponential_(generator=one) for one in self._generators])
        return scores - noise.log().to(scores.device)
