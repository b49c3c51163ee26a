"""The export of a model as ONNX, for any number of examples, checked against torch with onnxruntime."""

import importlib.util
from pathlib import Path
from typing import Any

import torch
from torch import nn

from modelmill.components.fine_tuning.agreement import require_agreement
from modelmill.core.errors import ModelmillError, UserError
from modelmill.models import torch_attention
from modelmill.tasks.contract import Task

FOLDER, FILE = "onnx", "model.onnx"
LIBRARIES = ("onnx", "onnxruntime", "onnxscript")
ADVICE = "set fine_tuning.onnx: false"


def require_libraries() -> None:
    """Check that the libraries of the export are installed.

    Raises:
        UserError: One is not.
    """
    missing = [name for name in LIBRARIES if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"fine_tuning.onnx: {missing[0]} is not installed; pip install 'modelmill[onnx]', or {ADVICE}")


def export(task: Task, model: nn.Module, values: torch.Tensor, output: Path) -> None:
    """Write `onnx/model.onnx` below `output`; equal weights make equal bytes.

    An ONNX file holds at most 2 GB: larger weights go into `model.onnx.data` beside it.

    Args:
        task: The task.
        model: The model, on the CPU.
        values: The task's input for at least two real examples, on the CPU.
        output: The folder to write into.

    Raises:
        ModelmillError: torch cannot express the model in ONNX, or onnxruntime computes something else.
    """
    logits = _Logits(task, model).eval()
    file = output / FOLDER / FILE
    file.parent.mkdir(parents=True)
    axes = {place: torch.export.Dim(name) for place, name in enumerate(task.axes)}
    try:
        program = torch.onnx.export(
            logits,
            (values,),
            input_names=[task.input],
            output_names=["logits"],
            dynamic_shapes=(axes,),
            dynamo=True,
            verbose=False,
        )
    except torch.onnx.OnnxExporterError as error:
        # The cause says what a graph cannot express; the error around it is for people who debug the exporter.
        why = str(error.__cause__ or error).partition("\n")[0].rstrip(".")
        raise ModelmillError(f"fine_tuning.onnx: torch cannot export this model: {why}; {ADVICE}") from error
    assert program is not None
    _forget_origin(program.model)
    program.save(file)
    _check(logits, task, values, file)


class _Logits(nn.Module):
    """A model as a function of one tensor."""

    def __init__(self, task: Task, model: nn.Module) -> None:
        super().__init__()
        self.task = task
        self.model = model

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        with torch_attention.as_one():  # the number of pieces depends on the length, which is free
            return self.task.logits(self.model, values)


def _forget_origin(model: Any) -> None:
    """Drop the exporter's notes on each node's origin: lines of files on this machine."""
    model.metadata_props.clear()
    for graph in (model.graph, *model.functions.values()):
        graph.metadata_props.clear()
        graph.doc_string = None
        for value in (*graph.inputs, *graph.initializers.values()):
            value.metadata_props.clear()
        for node in graph.all_nodes():
            node.metadata_props.clear()
            node.doc_string = None
            for value in node.outputs:
                value.metadata_props.clear()


@torch.no_grad()
def _check(logits: nn.Module, task: Task, values: torch.Tensor, file: Path) -> None:
    """Check the examples, one of them alone and, where their length is free, their first halves."""
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    halves = [values[:, : values.shape[1] // 2]] if "length" in task.axes else []
    for given in (values, values[:1], *halves):
        (exported,) = session.run(None, {task.input: given.numpy()})
        require_agreement("fine_tuning.onnx", logits(given), torch.from_numpy(exported), ADVICE)
