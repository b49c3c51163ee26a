"""Ways of feeding packed windows."""

from typing import Any

import torch
from torch import nn

from modelmill.tasks.language_modeling import ways
from modelmill.tasks.language_modeling.ways import Way


class Sums(nn.Module):
    """Recurrent network whose state is the sum of the tokens so far, reset where its kernel is told to."""

    def get_decoder(self) -> nn.Module:
        return self

    def forward(self, input_ids: torch.Tensor, seq_idx: torch.Tensor, cu_seq_lens_q: torch.Tensor, **_: Any) -> Any:
        sizes = torch.diff(cu_seq_lens_q).tolist()
        assert sizes == torch.bincount(seq_idx[0]).tolist()
        states = torch.cat([document.cumsum(0) for document in input_ids[0].split(sizes)])

        class Output:
            last_hidden_state = states[None, :, None]

        return Output()


def test_states_are_reset_at_the_documents_of_each_window() -> None:
    batch = {
        "input_ids": torch.tensor([[1, 2, 3, 4, 5, 6], [1, 1, 1, 1, 1, 1]]),
        "position_ids": torch.tensor([[0, 1, 0, 1, 2, 0], [0, 1, 2, 3, 4, 5]]),
    }
    hidden = ways.hidden(Way(mask="sequences"), Sums(), batch)
    assert hidden[..., 0].tolist() == [[1, 3, 3, 7, 12, 6], [1, 2, 3, 4, 5, 6]]


def test_kernels_that_reset_states_are_tried_before_padded_rows() -> None:
    order = [(way.feeding, way.mask) for way in ways.all_ways("sdpa")]
    assert order.index(("packed", "sequences")) < order.index(("padded", "none"))
