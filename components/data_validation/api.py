"""The functions of data validation that commands and the local runner call outside a step; `contract` has the others.

Importing this imports no Great Expectations.
"""

from modelmill.components.data_validation.conversations import ConversationRows, detect, is_named, of_format
from modelmill.components.data_validation.drift import Drift, of_recipe
from modelmill.components.data_validation.profile import Column
from modelmill.components.data_validation.step import measure_drift

__all__ = ["Column", "ConversationRows", "Drift", "detect", "is_named", "measure_drift", "of_format", "of_recipe"]
