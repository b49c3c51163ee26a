"""What commands call of registration outside a step.

Importing this imports no MLflow.
"""

from modelmill.components.registration.claim import Claim, exclusively

__all__ = ["Claim", "exclusively"]
