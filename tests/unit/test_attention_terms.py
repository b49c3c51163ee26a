"""Windows, caps and sinks: each of our attentions computes what a plain softmax over all pairs does."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from modelmill.models import attention, attention_pieces, document_attention, torch_attention
from modelmill.models.attention_arguments import UnsupportedAttention

Attend = Callable[..., tuple[torch.Tensor, None]]
SCALE = 0.3


def expected(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    seen: torch.Tensor,
    cap: float | None,
    sinks: torch.Tensor | None,
) -> torch.Tensor:
    """Attention over all pairs: (batch, length, heads, width)."""
    key, value = (t.repeat_interleave(query.shape[1] // t.shape[1], 1) for t in (key, value))
    scores = query @ key.mT * SCALE
    if cap is not None:
        scores = cap * (scores / cap).tanh()
    scores = scores.masked_fill(~seen, -torch.inf)
    if sinks is not None:
        scores = torch.cat([scores, sinks.view(1, -1, 1, 1).expand(*scores.shape[:-1], 1)], -1)
    return (scores.softmax(-1)[..., : key.shape[2]] @ value).transpose(1, 2)


def inputs(
    key_heads: int, length: int, batch: int = 2
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Queries, keys, values and sinks of 4 heads in fp64."""
    torch.manual_seed(length)
    shapes = (batch, 4, length, 3), (batch, key_heads, length, 3), (batch, key_heads, length, 5), (4,)
    first, second, third, fourth = (torch.randn(s, dtype=torch.float64, requires_grad=True) for s in shapes)
    return first, second, third, fourth


def layer(groups: int) -> Any:
    """A layer as `transformers` has them."""
    module: Any = torch.nn.Identity()
    module.num_key_value_groups = groups
    return module


@pytest.mark.parametrize("longest", [1024, 1], ids=["weights kept", "weights computed again"])
@pytest.mark.parametrize("attend", [attention.attend, torch_attention.attend, document_attention.attend])
@given(
    length=st.integers(2, 150),
    key_heads=st.sampled_from([1, 2, 4]),
    window=st.none() | st.integers(1, 160),
    cap=st.none() | st.floats(0.5, 50),
    has_sinks=st.booleans(),
    ends=st.sets(st.integers(1, 150), max_size=4),
)
@example(length=150, key_heads=2, window=70, cap=None, has_sinks=True, ends={20})  # a window over two pieces
@example(length=130, key_heads=4, window=3, cap=1.0, has_sinks=False, ends=set())
@example(length=64, key_heads=1, window=None, cap=1.0, has_sinks=True, ends={64, 63})
@settings(max_examples=8, deadline=None)
def test_outputs_and_gradients_are_those_of_all_pairs(
    attend: Attend,
    longest: int,
    length: int,
    key_heads: int,
    window: int | None,
    cap: float | None,
    has_sinks: bool,
    ends: set[int],
) -> None:
    query, key, value, sinks = inputs(key_heads, length)
    starts = {0, length, 2 * length} | {end for end in ends if end < 2 * length}
    boundaries = torch.tensor(sorted(starts), dtype=torch.int32)
    documents = document_attention.pairs(boundaries, 2, length)
    places = torch.arange(length)
    seen = documents & (places[:, None] - places < (window or length))
    wanted = [query, key, value, *([sinks] if has_sinks else [])]
    exact = expected(query, key, value, seen, cap, sinks if has_sinks else None)
    mask = boundaries.view(1, 1, 1, -1) if attend is document_attention.attend else documents
    terms = {"sliding_window": window, "softcap": cap, "s_aux": sinks if has_sinks else None}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention_pieces, "LONGEST", longest)
        output, _ = attend(layer(4 // key_heads), query, key, value, mask, scaling=SCALE, **terms)
        upstream = torch.randn_like(exact)
        torch.testing.assert_close(output, exact, rtol=0, atol=1e-12)
        ours = torch.autograd.grad(output, wanted, upstream)
    for mine, theirs in zip(ours, torch.autograd.grad(exact, wanted, upstream), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-11)


@pytest.mark.parametrize("cap", [None, 1.5])
@pytest.mark.parametrize("longest", [1024, 1])
def test_gradients_are_the_slopes_of_the_output(
    cap: float | None, longest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention_pieces, "LONGEST", longest)

    def attended(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, sinks: torch.Tensor) -> torch.Tensor:
        return attention.attend(layer(2), query, key, value, None, sliding_window=3, softcap=cap, s_aux=sinks)[0]

    assert torch.autograd.gradcheck(attended, inputs(2, 5, batch=1))


@pytest.mark.parametrize("attend", [attention.attend, torch_attention.attend])
@pytest.mark.parametrize("terms", [{}, {"softcap": 2.0}, {"sliding_window": 2}, {"s_aux": torch.zeros(4).double()}])
def test_a_row_that_sees_nothing_spoils_no_other(attend: Attend, terms: dict[str, Any]) -> None:
    """As padding on the left of a prompt does."""
    query, key, value, _ = inputs(4, 6, batch=1)
    mask = torch.ones(1, 1, 6, 6, dtype=torch.bool).tril()
    mask[..., :2] = False
    padded, _ = attend(layer(1), query, key, value, mask, **terms)
    alone, _ = attend(layer(1), *(tensor[:, :, 2:] for tensor in (query, key, value)), None, **terms)
    torch.testing.assert_close(padded[:, 2:], alone)
    gradients = torch.autograd.grad(padded[:, 2:].sum(), (query, key, value))
    assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("attend", [attention.attend, torch_attention.attend, document_attention.attend])
@pytest.mark.parametrize(
    ("terms", "named"),
    [
        ({"sinks": torch.zeros(1)}, "sinks"),
        ({"block_indices": torch.zeros(1)}, "block_indices"),
        ({"cu_seq_lens_q": torch.zeros(1)}, "cu_seq_lens_q"),
        ({"sliding_window": 0}, "sliding_window 0"),
        ({"sliding_window": 2, "is_causal": False}, "sliding_window"),
        ({"s_aux": torch.zeros(3)}, "s_aux of shape"),
        ({"softcap": 1.0, "position_bias": torch.zeros(1, 4, 6, 6)}, "position_bias"),
    ],
)
def test_what_is_not_computed_is_refused_by_layer_and_name(attend: Attend, terms: dict[str, Any], named: str) -> None:
    query, key, value, _ = inputs(4, 6, batch=1)
    module = layer(1)
    module.layer_idx = 3
    with pytest.raises(UnsupportedAttention, match=f"Identity of layer 3 passes {named}"):
        attend(module, query, key, value, None, **terms)


def test_what_changes_nothing_is_let_through_and_a_bias_is_added() -> None:
    query, key, value, _ = inputs(4, 6, batch=1)
    harmless = {"position_ids": torch.arange(6)[None], "use_cache": False, "indices": None, "output_attentions": False}
    exact = expected(query, key, value, torch.ones(6, 6, dtype=torch.bool).tril(), None, None)
    output, _ = attention.attend(layer(1), query, key, value, None, scaling=SCALE, **harmless)
    torch.testing.assert_close(output, exact)
    bias = torch.zeros(1, 4, 6, 6, dtype=torch.float64)
    bias[..., 0] = -torch.inf
    bias[..., 0, 0] = 0
    output, _ = attention.attend(layer(1), query, key, value, None, scaling=SCALE, position_bias=bias, sliding_window=4)
    places = torch.arange(6)
    seen = (places[:, None] - places < 4) & (bias[0, 0] == 0) & (places[:, None] >= places)
    torch.testing.assert_close(output, expected(query, key, value, seen, None, None))


@pytest.mark.parametrize("attend", [attention.attend, torch_attention.attend])
@pytest.mark.parametrize("sinks", [None, torch.ones(4).double()])
def test_masks_that_are_added_to_scores_are_taken_as_they_are(attend: Attend, sinks: torch.Tensor | None) -> None:
    query, key, value, _ = inputs(2, 6)
    seen = torch.ones(2, 1, 6, 6, dtype=torch.bool).tril()
    seen[1, :, 3:, :3] = False
    exact = expected(query, key, value, seen & torch.ones(6, 6).triu(-3).bool(), None, sinks)
    added = torch_attention.additive(seen, torch.float64)
    output, _ = attend(layer(2), query, key, value, added, scaling=SCALE, s_aux=sinks, sliding_window=4)
    torch.testing.assert_close(output, exact)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_an_added_mask_leaves_a_row_that_sees_nothing_finite(dtype: torch.dtype) -> None:
    mask = torch.tensor([[False, False], [True, False]])
    weights = (torch.tensor([[1.0, -2.0], [3.0, 4.0]], dtype=dtype) + torch_attention.additive(mask, dtype)).softmax(-1)
    assert weights.isfinite().all()
    assert weights[1].tolist() == [1, 0]


def test_a_step_with_a_cache_sees_all_of_its_keys() -> None:
    """The mask, or the cache itself, holds the window then."""
    query, key, value, sinks = inputs(4, 6, batch=1)
    seen = torch.ones(1, 6, dtype=torch.bool)
    terms = {"sliding_window": 2, "softcap": 3.0, "s_aux": sinks}
    output, _ = attention.attend(layer(1), query[:, :, -1:], key, value, None, scaling=SCALE, **terms)
    torch.testing.assert_close(output, expected(query[:, :, -1:], key, value, seen, 3.0, sinks))
