"""The functions of data validation that commands call outside a run."""

from modelmill.components.data_validation.contract import Draft, draft, judge
from modelmill.components.data_validation.drift import Drift, of_recipe
from modelmill.components.data_validation.profile import Column
from modelmill.components.data_validation.suite import parse

__all__ = ["Column", "Draft", "Drift", "draft", "judge", "of_recipe", "parse"]
