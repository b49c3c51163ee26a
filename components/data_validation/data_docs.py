"""Great Expectations' Data Docs as one self-contained page without scripts."""

import copy
import itertools
import re
from pathlib import Path
from typing import Any

from great_expectations.core.expectation_validation_result import expectationSuiteValidationResultSchema
from great_expectations.render.renderer import ValidationResultsPageRenderer
from great_expectations.render.view import DefaultJinjaPageView

_TEMPLATES = Path(__file__).parent / "templates"

# Great Expectations' templates escape some values and not others, and substitute `$name` inside values. So the
# characters that mean something travel through them as private ones and become entities at the end.
_SHIELDED = {chr(0xE000 + i): c for i, c in enumerate("<>&\"'$")}
_SHIELD = str.maketrans({c: private for private, c in _SHIELDED.items()})


def render(result: dict[str, Any]) -> str:
    """Return the HTML page for a validation result; equal results give equal pages."""
    shielded = expectationSuiteValidationResultSchema.load(_shielded(result))
    document = ValidationResultsPageRenderer(run_info_at_end=True).render(shielded)
    view = DefaultJinjaPageView(custom_views_directory=str(_TEMPLATES))
    numbers = itertools.count()
    view.env.filters["generate_html_element_uuid"] = lambda prefix=None: f"{prefix or ''}{next(numbers)}"
    page = view.render(document, template="data_docs.j2")
    without_scripts = re.sub(r"<script\b.*?</script>", "", page, flags=re.DOTALL | re.IGNORECASE)
    return _unshielded(re.sub(r'\shref="[^"]*"', "", without_scripts))


def _shielded(result: dict[str, Any]) -> dict[str, Any]:
    shielded = copy.deepcopy(result)
    shielded["suite_name"] = _shield(result["suite_name"])
    for one in shielded["results"]:
        one["result"] = _shield(one["result"])
        one["expectation_config"]["kwargs"] = _shield(one["expectation_config"]["kwargs"])
        one["expectation_config"]["meta"] = _shield(one["expectation_config"].get("meta") or {})
        one["exception_info"] = _shield(one["exception_info"] | {"exception_traceback": ""})
        if "partial_unexpected_list" in one["result"] and "element_count" not in one["result"]:
            # Unexpected distinct values are of no rows; Great Expectations fails on the percentage that they lack.
            one["result"] = {"observed_value": str(one["result"]["partial_unexpected_list"])}
    return shielded


def _shield(value: Any) -> Any:
    if isinstance(value, dict):
        return {_shield(k): _shield(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_shield(v) for v in value]
    return value.translate(_SHIELD) if isinstance(value, str) else value


def _unshielded(page: str) -> str:
    for private, c in _SHIELDED.items():
        # Great Expectations writes some lists as Python does, with private characters as escapes.
        page = page.replace(private, f"&#{ord(c)};").replace(f"\\u{ord(private):04x}", f"&#{ord(c)};")
    return page
