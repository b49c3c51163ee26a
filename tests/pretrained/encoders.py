"""Encoders with the tokenizers of their families, as checkpoints for text classification."""

import string
from pathlib import Path
from typing import Any

import numpy as np

from modelmill.corpus import checkpoint
from modelmill.corpus.example_shards import ShardedWriter, of_text
from modelmill.store.manifest import Manifest
from modelmill.tasks.text_classification.pretrained import PretrainedTextClassification
from modelmill.tasks.text_classification.rendering import OwnRendering
from tests.pretrained import tiny

TITLE = "Encoders: text classification"
HEAD = "AutoModelForSequenceClassification"
LENGTH = 24
TEXTS = [
    "a short one",
    "why?",
    "Of several lengths, this is the one that is the longest by far, so that it loses its end",
    "two words",
    "it is what it was, and more",
]
LABELS = ["no", "yes"]
_LETTERS = string.ascii_letters + string.digits + string.punctuation


def _wordpiece(*special: str) -> dict[str, int]:
    pieces = [*special, *_LETTERS, *(f"##{letter}" for letter in _LETTERS), "one", "##ort"]
    return {piece: number for number, piece in enumerate(pieces)}


def _unigram(*special: str) -> list[tuple[str, float]]:
    pieces = ["▁", *_LETTERS, "▁one", "or"]
    return [(token, 0.0) for token in special] + [(piece, -2.0 - 0.01 * n) for n, piece in enumerate(pieces)]


def _bytes(*special: str) -> dict[str, int]:
    from tokenizers.pre_tokenizers import ByteLevel

    return {piece: number for number, piece in enumerate([*special, *sorted(ByteLevel.alphabet()), "on", "one"])}


def _bert() -> Any:
    from transformers import BertTokenizer

    return BertTokenizer(vocab=_wordpiece("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"))


def _mpnet() -> Any:
    from transformers import MPNetTokenizer

    return MPNetTokenizer(vocab=_wordpiece("<s>", "<pad>", "</s>", "[UNK]", "<mask>"))


def _roberta() -> Any:
    from transformers import RobertaTokenizer

    vocabulary = _bytes("<s>", "<pad>", "</s>", "<unk>", "<mask>")
    return RobertaTokenizer(vocab=vocabulary, merges=[("o", "n"), ("on", "e")])


def _xlm_roberta() -> Any:
    from transformers import XLMRobertaTokenizer

    return XLMRobertaTokenizer(vocab=_unigram("<s>", "<pad>", "</s>", "<unk>", "<mask>"))


def _deberta_v2() -> Any:
    from transformers import DebertaV2Tokenizer

    return DebertaV2Tokenizer(vocab=_unigram("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"))


def _albert() -> Any:
    from transformers import AlbertTokenizer

    return AlbertTokenizer(vocab=_unigram("<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"))


def _xlnet() -> Any:
    from transformers import XLNetTokenizer

    return XLNetTokenizer(vocab=_unigram("<unk>", "<s>", "</s>", "<cls>", "<sep>", "<pad>", "<mask>"))


def _modernbert() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    made = Tokenizer(models.BPE(_bytes(*special), [("o", "n"), ("on", "e")]))
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    made.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        model_input_names=["input_ids", "attention_mask"],
        **dict(zip(names, special, strict=True)),
    )


def _gpt2() -> Any:
    from transformers import GPT2Tokenizer

    return GPT2Tokenizer(vocab=_bytes("<|endoftext|>"), merges=[("o", "n"), ("on", "e")])


# The tokenizer of each family, and settings of its configuration that rules of names do not know.
_MADE: dict[str, tuple[Any, dict[str, Any]]] = {
    "albert": (_albert, {}),
    "bert": (_bert, {}),
    "camembert": (_xlm_roberta, {}),
    "convbert": (_bert, {}),
    "data2vec-text": (_roberta, {}),
    "deberta": (_roberta, {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]}),
    "deberta-v2": (
        _deberta_v2,
        {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "position_buckets": 8, "type_vocab_size": 0},
    ),
    "distilbert": (_bert, {"hidden_dim": 32}),
    "electra": (_bert, {}),
    "ernie": (_bert, {}),
    "eurobert": (_modernbert, {}),
    "funnel": (_bert, {"block_sizes": [1, 1]}),
    "gpt2": (_gpt2, {}),
    "layoutlm": (_bert, {}),
    "mobilebert": (_bert, {}),
    "modernbert": (_modernbert, {"local_attention": 6, "global_attn_every_n_layers": 2}),
    "mpnet": (_mpnet, {}),
    "nystromformer": (_bert, {}),
    "rembert": (_albert, {}),
    "roberta": (_roberta, {}),
    "roformer": (_bert, {}),
    "squeezebert": (_bert, {}),
    "xlm-roberta": (_xlm_roberta, {}),
    "xlnet": (_xlnet, {}),
}
FAMILIES = sorted(_MADE)


def write(family: str, folder: Path, head: str = HEAD, labels: list[str] | None = None) -> None:
    """Write a checkpoint with the files of its tokenizer, as `save_pretrained` lays them out."""
    make, more = _MADE[family]
    tokenizer = make()
    ids = {
        f"{name}_token_id": number
        for name in ("pad", "bos", "eos", "cls", "sep")
        if (number := getattr(tokenizer, f"{name}_token_id", None)) is not None
    }
    config = tiny.config_of(family, **{"vocab_size": len(tokenizer), **ids, **more})
    if labels:
        config.id2label, config.label2id = dict(enumerate(labels)), {label: n for n, label in enumerate(labels)}
    folder.mkdir(parents=True, exist_ok=True)
    tiny.model_of(head, config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def task_over(folder: Path, texts: list[str], scratch: Path, length: int = LENGTH) -> PretrainedTextClassification:
    """A task over texts for a checkpoint, all of them in the training split; their labels take turns."""
    described = scratch / "checkpoint"
    checkpoint.take(folder, folder, described)
    renderer = OwnRendering(described, length)
    pairs = [(text,) for text in texts]
    has_types = renderer.has_types(pairs)
    with ShardedWriter(scratch) as writer:
        for number, ((text,), one) in enumerate(zip(pairs, renderer.render(pairs), strict=True)):
            values = {"tokens": np.array(one.ids, np.uint16), "text": of_text(text)}
            writer.add("train", number, values | ({"types": np.array(one.types, np.uint8)} if has_types else {}))
    np.save(scratch / "labels.npy", np.arange(len(texts)) % len(LABELS))
    files = {f"checkpoint/{file.name}": file for file in described.iterdir()} | writer.files()
    files["train/labels.npy"] = scratch / "labels.npy"
    info = {
        "classes": LABELS,
        "sequence_length": length,
        "special": {"padding": renderer.padding()},
        "types": has_types,
    }
    return PretrainedTextClassification(Manifest(kind="corpus", info=info), files, None)


def task_of(family: str, folder: Path) -> tuple[PretrainedTextClassification, Path]:
    """See `tests.pretrained`."""
    write(family, folder / "model", labels=LABELS)
    return task_over(folder / "model", TEXTS, folder), folder / "model"
