"""Great Expectations' Data Docs as one page that needs nothing else and runs nothing."""

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
_SHIELD = {ord(c): chr(0xE000 + i) for i, c in enumerate("<>&\"'$")}
_UNSHIELD = {0xE000 + i: f"&#{ord(c)};" for i, c in enumerate("<>&\"'$")}


def render(result: dict[str, Any]) -> str:
    """The HTML page for a validation result; equal results give equal pages."""
    shielded = expectationSuiteValidationResultSchema.load(_shielded(result))
    document = ValidationResultsPageRenderer(run_info_at_end=True).render(shielded)
    view = DefaultJinjaPageView(custom_views_directory=str(_TEMPLATES))
    numbers = itertools.count()
    view.env.filters["generate_html_element_uuid"] = lambda prefix=None: f"{prefix or ''}{next(numbers)}"
    page = view.render(document, template="data_docs.j2")
    return re.sub(r"<script\b.*?</script>", "", page, flags=re.DOTALL | re.IGNORECASE).translate(_UNSHIELD)


def _shielded(result: dict[str, Any]) -> dict[str, Any]:
    shielded = copy.deepcopy(result)
    shielded["suite_name"] = _shield(result["suite_name"])
    for one in shielded["results"]:
        one["result"] = _shield(one["result"])
        one["expectation_config"]["kwargs"] = _shield(one["expectation_config"]["kwargs"])
        one["expectation_config"]["meta"] = _shield(one["expectation_config"].get("meta") or {})
        one["exception_info"] = _shield(one["exception_info"])
    return shielded


def _shield(value: Any) -> Any:
    if isinstance(value, dict):
        return {_shield(k): _shield(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_shield(v) for v in value]
    return value.translate(_SHIELD) if isinstance(value, str) else value
