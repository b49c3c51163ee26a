"""Chat templates of families of models, as their makers publish them but for what tools and system prompts need.

Each has the special tokens that its tokenizer knows, and whether that is one of SentencePiece.
"""

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from modelmill.corpus.text import tokenizer
from tests.recipes import source_file


class Family(NamedTuple):
    """A family of chat models."""

    template: str
    special: list[str]
    eos: str
    bos: str | None = None
    sentencepiece: bool = False
    plain: tuple[str, ...] = ()  # tokens that were added, but are not special
    words: str = ""  # the words that merging does not cross; none: GPT-2's
    shows: frozenset[str] = frozenset()  # of system, tools, several (calls at once), thinking


# Llama 3's, which keep lines' ends together; GPT-2's cut the last off from what follows.
LLAMA_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+"
)
FAMILIES = {
    "llama-2": Family(
        "{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
        "{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + message['content'].strip() + ' [/INST]' }}"
        "{% elif message['role'] == 'assistant' %}{{ ' ' + message['content'].strip() + ' ' + eos_token }}{% endif %}"
        "{% endfor %}",
        ["<s>", "</s>"],
        "</s>",
        "<s>",
        sentencepiece=True,
    ),
    "mistral-v0.1": Family(
        "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}"
        "{{ '[INST] ' + message['content'] + ' [/INST]' }}{% elif message['role'] == 'assistant' %}"
        "{{ message['content'] + eos_token + ' ' }}{% endif %}{% endfor %}",
        ["<s>", "</s>"],
        "</s>",
        "<s>",
        sentencepiece=True,
    ),
    "zephyr": Family(
        "{% for message in messages %}\n{% if message['role'] == 'user' %}\n"
        "{{ '<|user|>\n' + message['content'] + eos_token }}\n{% elif message['role'] == 'assistant' %}\n"
        "{{ '<|assistant|>\n' + message['content'] + eos_token }}\n{% endif %}\n"
        "{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}",
        ["<s>", "</s>"],
        "</s>",
        "<s>",
        sentencepiece=True,
    ),
    "qwen2.5": Family(
        "{%- if messages[0]['role'] == 'system' %}\n{{- '<|im_start|>system\\n' + messages[0]['content'] + "
        "'<|im_end|>\\n' }}\n{%- else %}\n{{- '<|im_start|>system\\nYou are Qwen.<|im_end|>\\n' }}\n{%- endif %}\n"
        "{%- for message in messages %}\n{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' "
        "+ '\\n' }}\n{%- endfor %}\n{%- if add_generation_prompt %}\n{{- '<|im_start|>assistant\\n' }}\n{%- endif %}\n",
        ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        "<|im_end|>",
    ),
    "qwen3": Family(
        "{%- set ns = namespace(last_query_index=messages|length - 1) %}\n{%- for message in messages[::-1] %}\n"
        "{%- set index = (messages|length - 1) - loop.index0 %}\n{%- if message.role == 'user' %}"
        "{%- set ns.last_query_index = [ns.last_query_index, index]|min %}{%- endif %}\n{%- endfor %}\n"
        "{%- for message in messages %}\n{%- set content = message.content %}\n{%- if message.role == 'user' %}\n"
        "{{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}\n"
        "{%- elif message.role == 'assistant' %}\n{%- set reasoning_content = '' %}\n"
        "{%- if '</think>' in content %}\n"
        "{%- set reasoning_content = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}\n"
        "{%- set content = content.split('</think>')[-1].lstrip('\\n') %}\n{%- endif %}\n"
        "{%- if loop.index0 > ns.last_query_index %}\n"
        "{%- if loop.last or (not loop.last and reasoning_content) %}\n"
        "{{- '<|im_start|>' + message.role + '\\n<think>\\n' + reasoning_content.strip('\\n') + '\\n</think>\\n\\n' + "
        "content.lstrip('\\n') }}\n{%- else %}\n{{- '<|im_start|>' + message.role + '\\n' + content }}\n{%- endif %}\n"
        "{%- else %}\n{{- '<|im_start|>' + message.role + '\\n' + content }}\n{%- endif %}\n{{- '<|im_end|>\\n' }}\n"
        "{%- endif %}\n{%- endfor %}\n{%- if add_generation_prompt %}\n{{- '<|im_start|>assistant\\n' }}\n"
        "{%- if enable_thinking is defined and enable_thinking is false %}\n{{- '<think>\\n\\n</think>\\n\\n' }}\n"
        "{%- endif %}\n{%- endif %}",
        ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        "<|im_end|>",
        plain=("<think>", "</think>"),
    ),
    "gemma": Family(
        "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
        "{% endif %}{% for message in messages %}{% if (message['role'] == 'assistant') %}{% set role = 'model' %}"
        "{% else %}{% set role = message['role'] %}{% endif %}{{ '<start_of_turn>' + role + '\n' + "
        "message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}"
        "{{'<start_of_turn>model\n'}}{% endif %}",
        ["<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"],
        "<eos>",
        "<bos>",
        sentencepiece=True,
    ),
    "llama-3.2": Family(
        "{{- bos_token }}\n{%- if not date_string is defined %}\n{%- if strftime_now is defined %}\n"
        "{%- set date_string = strftime_now('%d %b %Y') %}\n{%- else %}\n{%- set date_string = '26 Jul 2024' %}\n"
        "{%- endif %}\n{%- endif %}\n{{- '<|start_header_id|>system<|end_header_id|>\\n\\n' }}\n"
        "{{- 'Cutting Knowledge Date: December 2023\\n' }}\n{{- 'Today Date: ' + date_string + '\\n\\n' }}\n"
        "{{- '<|eot_id|>' }}\n{%- for message in messages %}\n{{- '<|start_header_id|>' + message['role'] + "
        "'<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}\n{%- endfor %}\n"
        "{%- if add_generation_prompt %}\n{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}\n{%- endif %}\n",
        ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
        "<|eot_id|>",
        "<|begin_of_text|>",
        words=LLAMA_WORDS,
    ),
    "gpt-oss": Family(
        "{%- macro build_system_message() -%}{{- 'You are ChatGPT.\\n' }}{{- 'Current date: ' + "
        "strftime_now('%Y-%m-%d') + '\\n\\n' }}{%- endmacro -%}"
        "{{- '<|start|>system<|message|>' }}{{- build_system_message() }}{{- '<|end|>' }}"
        "{%- for message in messages -%}{%- if message.role == 'user' -%}"
        "{{- '<|start|>user<|message|>' + message.content + '<|end|>' }}{%- elif message.role == 'assistant' -%}"
        "{%- if loop.last and not add_generation_prompt -%}"
        "{{- '<|start|>assistant<|channel|>final<|message|>' + message.content + '<|return|>' }}{%- else -%}"
        "{{- '<|start|>assistant<|channel|>final<|message|>' + message.content + '<|end|>' }}{%- endif -%}"
        "{%- endif -%}{%- endfor -%}{%- if add_generation_prompt -%}{{- '<|start|>assistant' }}{%- endif -%}",
        ["<|startoftext|>", "<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|return|>"],
        "<|return|>",
        "<|startoftext|>",
    ),
    "phi-3": Family(
        "{% for message in messages %}{% if message['role'] == 'user' %}{{'<|user|>\n' + message['content'] + "
        "'<|end|>\n'}}{% elif message['role'] == 'assistant' %}{{'<|assistant|>\n' + message['content'] + '<|end|>\n'}}"
        "{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}"
        "{% endif %}",
        ["<s>", "<|endoftext|>", "<|user|>", "<|assistant|>", "<|end|>"],
        "<|endoftext|>",
        "<s>",
        sentencepiece=True,
    ),
    "deepseek-r1": Family(
        "{{ bos_token }}{%- for message in messages %}{%- if message['role'] == 'user' %}"
        "{{'<\uff5cUser\uff5c>' + message['content']}}{%- endif %}{%- if message['role'] == 'assistant' %}"
        "{% set content = message['content'] %}{% if '</think>' in content %}"
        "{% set content = content.split('</think>')[-1] %}{% endif %}"
        "{{'<\uff5cAssistant\uff5c>' + content + eos_token}}{%- endif %}{%- endfor -%}"
        "{% if add_generation_prompt %}{{'<\uff5cAssistant\uff5c>'}}{% endif %}",
        ["<bos>", "<eos>", "<\uff5cUser\uff5c>", "<\uff5cAssistant\uff5c>"],
        "<eos>",
        "<bos>",
        plain=("<think>", "</think>"),
    ),
    "tulu": Family(
        "{% for message in messages %}{% if message['role'] == 'user' %}{{ '<|user|>\n' + message['content'] + '\n' }}"
        "{% elif message['role'] == 'assistant' %}{% if not loop.last %}{{ '<|assistant|>\n' + message['content'] + "
        "eos_token + '\n' }}{% else %}{{ '<|assistant|>\n' + message['content'] + eos_token }}{% endif %}{% endif %}"
        "{% if loop.last and add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}{% endfor %}",
        ["<|endoftext|>"],
        "<|endoftext|>",
    ),
}
TEMPLATES = Path(__file__).parent / "chat_templates"
_MARK = re.compile(r" *{%- (end)?generation %}\n")
ALL = frozenset({"system", "tools", "several"})
DEEPSEEK = [
    f"<\uff5c{name}\uff5c>"
    for name in (
        *("begin\u2581of\u2581sentence", "end\u2581of\u2581sentence", "User", "Assistant", "tool\u2581sep"),
        *(
            f"tool\u2581{what}\u2581{edge}"
            for what in ("calls", "call", "outputs", "output")
            for edge in ("begin", "end")
        ),
    )
]


def marked(name: str) -> Family:
    """A family whose template marks what is generated."""
    return TURNS[name]._replace(template=(TEMPLATES / f"{name}.jinja").read_text("utf-8"))


def _published(name: str, *arguments: Any, **options: Any) -> Family:
    """A family whose template is in a file, with marks that its makers do not have."""
    return Family(_MARK.sub("", (TEMPLATES / f"{name}.jinja").read_text("utf-8")), *arguments, **options)


CHATML = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
LLAMA = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
COHERE = [f"<|{name}_TOKEN|>" for name in ("START_OF_TURN", "END_OF_TURN", "USER", "CHATBOT", "SYSTEM")]
# Families with the templates of whole conversations, tools and thinking.
TURNS = {
    name: family._replace(shows=frozenset({"system"} if name in ("qwen2.5", "llama-3.2") else ()))
    for name, family in FAMILIES.items()
} | {
    "smollm2": _published("smollm2", CHATML, "<|im_end|>", shows=frozenset({"system"})),
    "qwen2.5-tools": _published("qwen2.5-tools", CHATML, "<|im_end|>", shows=ALL),
    "qwen3-tools": _published(
        "qwen3-tools", CHATML, "<|im_end|>", plain=("<think>", "</think>"), shows=ALL | {"thinking"}
    ),
    "llama-3.1": _published(
        "llama-3.1", LLAMA, "<|eot_id|>", LLAMA[0], words=LLAMA_WORDS, shows=frozenset({"system", "tools"})
    ),
    "mistral-v0.3": _published(
        "mistral-v0.3",
        ["<s>", "</s>", "[INST]", "[/INST]", "[TOOL_CALLS]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]"],
        "</s>",
        "<s>",
        sentencepiece=True,
        shows=frozenset({"tools", "several"}),
    ),
    "deepseek-v3": _published("deepseek-v3", DEEPSEEK, DEEPSEEK[1], DEEPSEEK[0], shows=ALL),
    "command-r": _published(
        "command-r", ["<BOS_TOKEN>", *COHERE], "<|END_OF_TURN_TOKEN|>", "<BOS_TOKEN>", shows=frozenset({"system"})
    ),
    "granite-3": _published(
        "granite-3",
        ["<|end_of_text|>", "<|start_of_role|>", "<|end_of_role|>", "<|tool_call|>"],
        "<|end_of_text|>",
        shows=ALL,
    ),
    "phi-4": _published("phi-4", [*CHATML, "<|im_sep|>"], "<|im_end|>", shows=frozenset({"system"})),
    "gemma-3": _published(
        "gemma-3",
        ["<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"],
        "<eos>",
        "<bos>",
        sentencepiece=True,
        shows=frozenset({"system"}),
    ),
    "glm-4.5": _published(
        "glm-4.5",
        ["<|endoftext|>", "[gMASK]", "<sop>", "<|system|>", "<|user|>", "<|assistant|>", "<|observation|>"],
        "<|endoftext|>",
        plain=("<think>", "</think>", "<tool_call>", "</tool_call>"),
        shows=ALL | {"thinking"},
    ),
    "olmo-2": _published("olmo-2", ["<|endoftext|>"], "<|endoftext|>", "<|endoftext|>", shows=frozenset({"system"})),
    "lfm2": _published(
        "lfm2",
        ["<|startoftext|>", *CHATML, *(f"<|tool_{what}|>" for what in ("call_start", "call_end"))],
        "<|im_end|>",
        "<|startoftext|>",
        shows=ALL,
    ),
    "vicuna": _published("vicuna", ["<s>", "</s>"], "</s>", "<s>", sentencepiece=True, shows=frozenset({"system"})),
    "gpt-oss-tools": _published(
        "gpt-oss-tools",
        ["<|startoftext|>", "<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|return|>", "<|call|>"],
        "<|return|>",
        "<|startoftext|>",
        shows=frozenset({"system", "tools", "thinking"}),
    ),
    # Its makers have the marks, around what opens a message, too.
    "smollm3": Family(
        (TEMPLATES / "smollm3.jinja").read_text("utf-8"), CHATML, "<|im_end|>", shows=frozenset({"system"})
    ),
}
# As DeepSeek-R1 later: whoever asks opens the thinking, which past answers do not show.
ASKS_TO_THINK = FAMILIES["deepseek-r1"]._replace(
    template=FAMILIES["deepseek-r1"].template.replace(
        "{{'<\uff5cAssistant\uff5c>'}}{% endif %}", "{{'<\uff5cAssistant\uff5c><think>\\n'}}{% endif %}"
    )
)
# As SmolLM3's: what was generated is marked. It is asked for in other words here.
MARKED = Family(
    "{% for message in messages %}{% if message.role == 'user' %}<|im_start|>user\n{{ message.content }}<|im_end|>\n"
    "{% else %}<|im_start|>assistant\n{% generation %}{{ message.content }}<|im_end|>\n{% endgeneration %}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>bot\n{% endif %}",
    ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
    "<|im_end|>",
)


def write(folder: Path, family: Family) -> Path:
    """A folder with a small tokenizer of a family and its template, laid out as on the hub."""
    texts = [f"{source_file(n)} user assistant model answers [INST] [/INST]\n\n \n" for n in range(30)]
    folder.mkdir(parents=True)
    if family.sentencepiece:
        _write_sentencepiece(folder, texts)
        kind = "LlamaTokenizerFast"
    else:
        tokenizer.train(iter(texts), 330, folder)
        kind = "PreTrainedTokenizerFast"
    trained = Tokenizer.from_file(str(folder / "tokenizer.json"))
    if family.words:
        words = pre_tokenizers.Split(Regex(family.words), "isolated")
        bytes_alone = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        trained.pre_tokenizer = pre_tokenizers.Sequence([words, bytes_alone])
    trained.add_special_tokens([AddedToken(token, normalized=False) for token in family.special])
    trained.add_tokens([AddedToken(token, normalized=False) for token in family.plain])
    if family.bos:
        begins = (family.bos, trained.token_to_id(family.bos))
        trained.post_processor = processors.TemplateProcessing(
            single=f"{family.bos} $A", pair=f"{family.bos} $A {family.bos} $B", special_tokens=[begins]
        )
    trained.save(str(folder / "tokenizer.json"))
    named = {"eos_token": family.eos} | ({"bos_token": family.bos} if family.bos else {})
    config = {"tokenizer_class": kind, "chat_template": family.template, **named}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    return folder


def _write_sentencepiece(folder: Path, texts: list[str]) -> None:
    """As Llama 2's tokenizer.json: spaces become U+2581, one is put before a text, and bytes stand in for the rest."""
    made = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    made.pre_tokenizer = pre_tokenizers.Metaspace(split=True)
    every_byte = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=500, special_tokens=["<unk>", *every_byte], show_progress=False)
    made.train_from_iterator(texts, trainer)
    made.pre_tokenizer = None
    made.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    made.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    content = json.loads(made.to_str())
    content["added_tokens"] = [token for token in content["added_tokens"] if not token["content"].startswith("<0x")]
    (folder / "tokenizer.json").write_text(json.dumps(content))
