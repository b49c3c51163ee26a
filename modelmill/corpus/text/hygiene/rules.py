"""Reasons to leave a document out for its own sake, whatever the others are."""

import re

from modelmill.corpus.text.settings import Hygiene

# In the order of trial: the first that applies is a document's reason. The last two show when a row is read.
REASONS = (
    *("broken", "too_short", "too_long", "repetitive", "exact_duplicate", "near_duplicate", "contaminated"),
    *("malformed", "equal_answers"),
)
# U+FFFD replaces bytes that were not UTF-8; the control characters belong to no text.
_BROKEN = re.compile("[\ufffd\x00-\x08\x0b\x0e-\x1f\x7f]")


def reason(text: str, hygiene: Hygiene) -> str | None:
    """Return the first rule that a cleaned document breaks by itself, or None."""
    if hygiene.broken == "drop" and _BROKEN.search(text):
        return "broken"
    if hygiene.min_characters is not None and len(text) < hygiene.min_characters:
        return "too_short"
    if hygiene.max_characters is not None and len(text) > hygiene.max_characters:
        return "too_long"
    if hygiene.max_repetition is not None and repetition(text) > hygiene.max_repetition:
        return "repetitive"
    return None


def repetition(text: str) -> float:
    """Return the fraction of characters in lines that occurred before; blank lines do not count.

    Rae et al., 2021, https://arxiv.org/abs/2112.11446, appendix A.
    """
    seen: set[str] = set()
    total = repeated = 0
    for line in text.splitlines():
        if not (stripped := line.strip()):
            continue
        total += len(stripped)
        repeated += len(stripped) if stripped in seen else 0
        seen.add(stripped)
    return repeated / total if total else 0.0
