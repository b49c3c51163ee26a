"""Model folders with the tokenizer of a chat model, as small as they can be."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer

from modelmill.corpus.text import tokenizer
from tests.recipes import source_file

MARKS = ["<|im_start|>", "<|im_end|>", "<s>", "</s>"]
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# As Llama 3's: white space goes, the beginning of text comes from the template, and so does a date.
TRIMMED = (
    "{{ bos_token }}{% if not date_string is defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}"
    "<|im_start|>system\nToday: {{ date_string }}<|im_end|>"
    "{% for message in messages %}<|im_start|>{{ message.role }}\n\n{{ message.content | trim }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n\n{% endif %}"
)
# As Mistral's: no generation prompt, and the end of text ends a response.
INSTRUCT = (
    "{{ bos_token }}{% for message in messages %}{% if message.role == 'user' %}[INST]{{ message.content }}[/INST]"
    "{% else %}{{ message.content }}{{ eos_token }}{% endif %}{% endfor %}"
)
# As some that were written by hand: nothing marks the end of a response.
PLAIN = (
    "{% for message in messages %}{{ message.role }}:\n{{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:\n{% endif %}"
)


def write_chat_model(folder: Path, template: str | None, own_file: bool = False, **special: str) -> Path:
    """A folder with a byte-level tokenizer that knows `MARKS`, its template, and no weights worth the name."""
    tokenizer.train((f"{source_file(n)} Modelmill asks Modelmill answers" for n in range(60)), 340, folder)
    trained = Tokenizer.from_file(str(folder / "tokenizer.json"))
    trained.add_special_tokens(MARKS)
    trained.save(str(folder / "tokenizer.json"))
    config = json.loads((folder / "tokenizer_config.json").read_text()) | special
    if template is not None and own_file:
        (folder / "chat_template.jinja").write_text(template)
    elif template is not None:
        config["chat_template"] = template
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "config.json").write_text("{}")
    save_file({"weight": np.zeros(1, np.float32)}, folder / "model.safetensors")
    return folder
