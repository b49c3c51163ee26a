"""The comparison of two models on the examples that both were measured on."""

from modelmill.champion.comparison.decision import decide, decide_between

__all__ = ["decide", "decide_between"]
