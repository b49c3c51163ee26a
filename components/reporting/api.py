"""The functions of reporting that commands call outside a run: pages other than a run's report."""

from modelmill.components.reporting.compare import render as render_comparison
from modelmill.components.reporting.evidence import Run
from modelmill.components.reporting.lr_find import render as render_rates
from modelmill.components.reporting.step import run as report_run

__all__ = ["Run", "render_comparison", "render_rates", "report_run"]
