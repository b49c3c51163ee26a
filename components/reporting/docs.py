"""Great Expectations' Data Docs, made fit to be shown inside a page that loads nothing."""

import re

from components.common.manifest import Manifest
from components.common.store import blobs
from components.reporting.evidence import Run

# Data Docs get their looks from style sheets on the web; this is the little that they need to be read without them.
STYLE = """<style>
body { font: 14px/1.45 system-ui, sans-serif; margin: 1rem; overflow-wrap: anywhere; }
table { border-collapse: collapse; margin: .5rem 0 1rem; } td, th { border: 1px solid #ccc; padding: .25rem .5rem; }
nav, footer, .sticky { display: none; }
</style>"""


def find_docs(run: Run, validation: Manifest | None) -> dict[str, str] | None:
    """The page to embed and the URI of the whole one: this run's own, or the validation's that was reused."""
    key = f"runs/{run.run_id}/validation/data_docs.html"
    page = run.object(key)
    if page is None:
        page = run.entry(validation, "data_docs.html")
        if validation is None or page is None:
            return None
        key = blobs.key_of(validation.entry("data_docs.html").sha256)
    return {"page": STYLE + _without_references(page.decode("utf-8", "replace")), "uri": run.uri_of(key)}


def _without_references(page: str) -> str:
    """The page without what it loads or links to. What keeps it harmless is the frame's sandbox, not this."""
    page = re.sub(r"<script\b.*?</script\s*>|<!--.*?-->", "", page, flags=re.S | re.I)
    page = re.sub(r"<(link|img|meta)\b[^>]*>", "", page, flags=re.I)
    return re.sub(r"""\shref=(["'])(?!#).*?\1""", "", page, flags=re.S | re.I)
