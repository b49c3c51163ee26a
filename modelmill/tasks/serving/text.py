"""Models of `transformers` and their tokenizers, as a serving script loads them."""

from pathlib import Path
from typing import Any

from modelmill.tasks.serving.model import folder_of, on_device


def load_pretrained(context: Any, kind: Any) -> Any:
    """Return the model of a folder in the layout of `from_pretrained`, ready to answer; no code of the folder runs.

    Args:
        context: MLflow's `PythonModelContext`.
        kind: A class of `transformers`, such as `AutoModelForCausalLM`.
    """
    return ready(loaded(folder_of(context), kind))


def loaded(folder: Path, kind: Any) -> Any:
    """Return the model of a folder, in the number format of its weights; no code of the folder runs.

    Args:
        folder: The model's folder.
        kind: A class of `transformers`.
    """
    return kind.from_pretrained(folder, local_files_only=True, use_safetensors=True, trust_remote_code=False)


def ready(model: Any) -> Any:
    """Return a model on its device; a CPU computes in fp32, as evaluation does."""
    import torch

    return on_device(model if torch.cuda.is_available() else model.float())


def load_tokenizer(context: Any) -> Any:
    """Return the tokenizer, which reads the names of special tokens in a text as plain text, as in training."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder_of(context) / "tokenizer.json"))
    tokenizer.encode_special_tokens = True
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
