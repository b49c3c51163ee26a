"""The report of a run: how it ended, one page that shows it, and notifications to those who asked for them."""

import logging
import time
from html import escape
from pathlib import Path
from typing import Any

from modelmill.components.reporting import notify
from modelmill.components.reporting.evidence import Run
from modelmill.components.reporting.outcome import GATE_FAILED, REGISTERED, decide
from modelmill.runtime import retraining, run_records
from modelmill.store import open_store

log = logging.getLogger("modelmill")


def run(*, recipe: str, store: str, run_id: str, report: str) -> None:
    """Write `outcome.json`, then the page to the store and to the file `report`, and send notifications.

    The outcome comes first, and a page that cannot be rendered is replaced by a plain one: the report must not hide how
    the run ended.

    Args:
        recipe: The recipe's key in the store; without it the report has what the run's record says.
        store: URI of the store.
        run_id: The run to report on.
        report: The file to write the page to.

    Raises:
        StoreError: The store does not answer.
    """
    opened = open_store(store)
    evidence = Run.read(opened, run_id, recipe)
    outcome = decide(evidence, finished=time.time())
    run_records.write_outcome(opened, run_id, outcome)
    page = _page(evidence, outcome).encode("utf-8", "replace")
    opened.put(run_records.report_key(run_id), page)
    Path(report).parent.mkdir(parents=True, exist_ok=True)
    Path(report).write_bytes(page)
    log.info("%s: %s; report at %s", run_id, outcome["outcome"], outcome["report"])
    if outcome["outcome"] in (REGISTERED, GATE_FAILED):
        retraining.settle(opened, evidence.recipe, run_id)
    notify.send(opened, str(evidence.recipe.get("name", "")), outcome)


def _page(evidence: Run, outcome: dict[str, Any]) -> str:
    try:
        from modelmill.components.reporting.render import render

        return render(evidence, outcome)
    except Exception as error:
        log.exception("the report could not be rendered")
        lines = {**outcome, "this page": f"could not be rendered: {type(error).__name__}; see the log of reporting"}
        rows = "".join(f"<dt>{escape(str(k))}</dt><dd>{escape(str(v))}</dd>" for k, v in lines.items())
        return f'<!doctype html><meta charset="utf-8"><title>{escape(evidence.run_id)}</title><dl>{rows}</dl>'
