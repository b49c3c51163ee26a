"""Models of `transformers` and their tokenizers, as a serving script loads them."""

from typing import Any

from modelmill.tasks.serving.model import folder_of, on_device


def load_pretrained(context: Any, kind: Any) -> Any:
    """Return the model of a folder in the layout of `from_pretrained`, ready to answer; no code of the folder runs.

    Args:
        context: MLflow's `PythonModelContext`.
        kind: A class of `transformers`, such as `AutoModelForCausalLM`.
    """
    model = kind.from_pretrained(
        folder_of(context), local_files_only=True, use_safetensors=True, trust_remote_code=False
    )
    return on_device(model)


def load_tokenizer(context: Any) -> Any:
    """Return the tokenizer, which reads the names of special tokens in a text as plain text, as in training."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder_of(context) / "tokenizer.json"))
    tokenizer.encode_special_tokens = True
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
