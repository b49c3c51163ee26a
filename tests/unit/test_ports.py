"""The ports of a step are declared once; what KFP sees of it and what its entry takes agree with that."""

import importlib

import pytest

from modelmill.pipelines.dag import COMPONENTS
from modelmill.recipe.step_specs import STEPS

RUN = {"recipe", "store", "run_id"}
# Inputs and outputs that are no manifests: what a task waits for, and what the DAG decides by.
WAITED_FOR = {"data_validation": {"scanned"}, "preprocessing": {"encoded"}, "registration": {"passed"}}
VALUES = {"data_validation": {"drifted", "drift"}, "evaluation": {"Output"}}


@pytest.mark.parametrize("step", STEPS)
def test_a_component_has_the_ports_of_its_step(step: str) -> None:
    component, spec = COMPONENTS[step].component_spec, STEPS[step]
    assert component.name.replace("-", "_") == step
    assert component.inputs.keys() == RUN | spec.inputs.keys() | WAITED_FOR.get(step, set())
    assert (component.outputs or {}).keys() == {*spec.outputs} | VALUES.get(step, set())
    artifacts = {name for name, port in component.inputs.items() if port.type == "system.Artifact@0.0.1"}
    assert artifacts == spec.inputs.keys()


def test_every_input_is_the_output_of_an_earlier_step() -> None:
    made: set[str] = set()
    for name, spec in STEPS.items():
        assert set(spec.inputs.values()) <= made, name
        made |= {f"{name}.{port}" for port in spec.outputs}


@pytest.mark.parametrize("step", ["preprocessing", "pretraining", "fine_tuning", "evaluation"])
def test_an_entry_takes_the_ports_of_its_step_and_no_others(step: str) -> None:
    run = importlib.import_module(f"modelmill.components.{step}.step").run
    files = {port: f"/nowhere/{port}" for port in (*STEPS[step].inputs, *STEPS[step].outputs)}
    for wrong in (files | {"another": "/nowhere"}, dict(list(files.items())[1:])):
        with pytest.raises(TypeError, match="takes the ports"):
            run(recipe="{}", store="file:///nowhere", run_id="1", **wrong)
