"""What commands call of reporting, outside a run: other pages than a run's report."""

from modelmill.components.reporting.compare import render as render_comparison
from modelmill.components.reporting.evidence import Run
from modelmill.components.reporting.lr_find import render as render_rates

__all__ = ["Run", "render_comparison", "render_rates"]
