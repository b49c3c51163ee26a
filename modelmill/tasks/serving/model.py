"""A served model's files, and requests that are refused."""

import base64
import binascii
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlflow.exceptions import MlflowException


def folder_of(context: Any) -> Path:
    """Return the folder with the model's files.

    Args:
        context: MLflow's `PythonModelContext`.
    """
    return Path(context.artifacts["model"])


def read_json(context: Any, name: str) -> dict[str, Any]:
    """Return one of the model's files, an object in JSON.

    Args:
        context: MLflow's `PythonModelContext`.
        name: The file's name.
    """
    content: dict[str, Any] = json.loads((folder_of(context) / name).read_text("utf-8"))
    return content


def load_network(context: Any, make: Callable[[dict[str, Any]], Any]) -> Any:
    """Return the network with its weights, ready to answer, on a GPU where there is one.

    Args:
        context: MLflow's `PythonModelContext`.
        make: Makes the network of what `config.json` says.
    """
    from safetensors.torch import load_file

    network = make(read_json(context, "config.json"))
    network.load_state_dict(load_file(folder_of(context) / "model.safetensors"))
    return on_device(network)


def on_device(network: Any) -> Any:
    """Return a network in evaluation mode, on a GPU where there is one."""
    import torch

    return network.to("cuda" if torch.cuda.is_available() else "cpu").eval()


def device_of(network: Any) -> Any:
    """Return the device that a network is on."""
    return next(network.parameters()).device


def refusal(message: str) -> MlflowException:
    """Return the error of a request that the model cannot answer."""
    return MlflowException.invalid_parameter_value(message)


def decode_base64(column: str, text: str) -> bytes:
    """Return the bytes that a column holds in base64.

    Raises:
        MlflowException: The text is not base64.
    """
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise refusal(f"{column}: not base64 of a file's bytes; send what `base64 -w0 FILE` prints") from None


def encode_base64(data: bytes) -> str:
    """Return bytes in base64."""
    return base64.b64encode(data).decode("ascii")
