"""TRL as oracle: with the same weights and batch, losses and gradients agree to 1e-5 in fp32."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.conversations import oracle
from modelmill.tasks.language_modeling.objectives.preferences import Preferences
from modelmill.tasks.language_modeling.objectives.reference import Reference

AGREES = 1e-5


@pytest.mark.parametrize("case", oracle.CASES)
def test_losses_and_gradients_are_trls(tmp_path: Path, case: str) -> None:
    pytest.importorskip("trl")
    found = oracle.CASES[case](tmp_path)
    assert found.loss <= AGREES and found.gradient <= AGREES


def test_dpo_without_a_reference_is_that_of_one_that_finds_all_answers_equally_likely(tmp_path: Path) -> None:
    free, bound = (oracle.Ours(tmp_path, "dpo", reference_free=is_free) for is_free in (True, False))
    assert isinstance(free.task.objective, Preferences) and isinstance(bound.task.objective, Preferences)
    bound.task.objective.known = Reference({"train": np.zeros((oracle.EXAMPLES, 2), np.float32)}, {})
    assert free.loss().item() == pytest.approx(bound.loss().item(), rel=1e-6)
