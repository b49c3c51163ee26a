"""Whether one model is better than another on the examples that both were measured on."""

from components.common.comparison.decision import decide, decide_between

__all__ = ["decide", "decide_between"]
