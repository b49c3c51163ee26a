"""What a registered model asks of the Python that serves it."""

import pytest

from modelmill.components.registration.package import requirements
from modelmill.recipe import task_packages
from modelmill.runtime.model_form import ADAPTER_LIBRARIES
from modelmill.training.loop.skipped import LIBRARIES
from tests.cli import ROOT

TRAINED_WITH = {"torch": "2.13.0+cpu", "safetensors": "0.8.0", "numpy": "2.4.6"}


@pytest.mark.parametrize("task", task_packages.packages())
def test_every_library_is_known_to_training_or_pinned_as_the_project_is_tested(task: str) -> None:
    tested = (ROOT / "constraints.txt").read_text().split()
    for one in task_packages.registration(task).REQUIREMENTS:
        assert one in LIBRARIES + ADAPTER_LIBRARIES or one in tested


def test_versions_are_those_of_training_and_those_that_the_task_names() -> None:
    found = requirements("image_classification", TRAINED_WITH)
    assert found == ["torch==2.13.0", "safetensors==0.8.0", "numpy==2.4.6", "pillow==13.0.0"]
    assert requirements("image_classification", {"torch": "2.14.0"}) == ["torch==2.14.0", "pillow==13.0.0"]
