"""Tiny translators with random weights, each with a tokenizer of its own class, as hubs lay them out."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from modelmill.corpus.example_shards import ShardedWriter
from modelmill.store.manifest import Manifest
from modelmill.tasks.translation.pretrained import PretrainedTranslation
from modelmill.tasks.translation.sides import Side, Sides

TITLE = "Encoders with decoders: translation"
LETTERS = "".join(map(chr, [*range(ord("a"), ord("z") + 1), *range(0x430, 0x460)])) + ".,'"
SIZES: dict[str, Any] = {"d_model": 16, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2}
SIZES |= {"decoder_attention_heads": 2, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24, "max_position_embeddings": 64}
T5: dict[str, Any] = {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2}
T5 |= {"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0}
FAIRSEQ = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}


def pieces(*special: str) -> list[tuple[str, float]]:
    """Special tokens, then the letters, each by itself and as the beginning of a word."""
    letters = [f"{start}{letter}" for letter in LETTERS for start in ("", "▁")]
    return [(token, 0.0) for token in special] + [("▁", -3.0)] + [(one, -2.0) for one in letters]


def _bart() -> tuple[Any, Any, dict[str, Any]]:
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import BartConfig, BartTokenizer

    tokens = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *sorted(ByteLevel.alphabet())]
    tokenizer = BartTokenizer(vocab={token: number for number, token in enumerate(tokens)}, merges=[])
    return BartConfig, tokenizer, SIZES | FAIRSEQ | {"decoder_start_token_id": 2, "forced_eos_token_id": 2}


def _mbart() -> tuple[Any, Any, dict[str, Any]]:
    from transformers import MBartConfig, MBartTokenizer

    return MBartConfig, MBartTokenizer(vocab=pieces("<s>", "<pad>", "</s>", "<unk>")), SIZES | FAIRSEQ


def _mbart50() -> tuple[Any, Any, dict[str, Any]]:
    from transformers import MBart50Tokenizer, MBartConfig

    tokenizer = MBart50Tokenizer(vocab=[*pieces("<s>", "<pad>", "</s>", "<unk>"), ("en_XX", 0.0), ("uk_UA", 0.0)])
    return MBartConfig, tokenizer, SIZES | FAIRSEQ | {"decoder_start_token_id": 2}


def _nllb() -> tuple[Any, Any, dict[str, Any]]:
    from transformers import M2M100Config, NllbTokenizer

    vocabulary = {token: number for number, (token, _) in enumerate(pieces("<s>", "<pad>", "</s>", "<unk>"))}
    merges = [("▁", letter) for letter in LETTERS]
    return M2M100Config, NllbTokenizer(vocab=vocabulary, merges=merges), SIZES | FAIRSEQ | {"decoder_start_token_id": 2}


def _m2m() -> tuple[Any, Any, dict[str, Any]]:
    from tokenizers import processors
    from transformers import M2M100Config

    tokenizer = _unigram("<s>", "<pad>", "</s>", "<unk>", languages=["__en__", "__uk__"])
    first, end = (tokenizer.convert_tokens_to_ids(token) for token in ("__en__", "</s>"))
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=["__en__", "$A", "</s>"], special_tokens=[("__en__", first), ("</s>", end)]
    )
    return M2M100Config, tokenizer, SIZES | FAIRSEQ | {"decoder_start_token_id": 2}


def _marian() -> tuple[Any, Any, dict[str, Any]]:
    from transformers import MarianConfig

    tokenizer = _unigram("</s>", "<unk>", "<pad>", languages=[">>ukr<<", ">>bel<<"])
    more = {"pad_token_id": 2, "eos_token_id": 0, "bos_token_id": 0, "decoder_start_token_id": 2}
    return MarianConfig, tokenizer, SIZES | more | {"forced_eos_token_id": 0}


def _pegasus() -> tuple[Any, Any, dict[str, Any]]:
    from transformers import PegasusConfig, PegasusTokenizer

    tokenizer = PegasusTokenizer(vocab=pieces("<pad>", "</s>", "<mask_1>", "<mask_2>", "<unk>"), offset=4)
    return PegasusConfig, tokenizer, SIZES | {"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0}


def _t5(kind: str = "T5", **more: Any) -> Callable[[], tuple[Any, Any, dict[str, Any]]]:
    def made() -> tuple[Any, Any, dict[str, Any]]:
        import transformers

        tokenizer = transformers.T5Tokenizer(vocab=pieces("<pad>", "</s>", "<unk>"), extra_ids=3)
        return getattr(transformers, f"{kind}Config"), tokenizer, T5 | more

    return made


def _plain(kind: str, **more: Any) -> Callable[[], tuple[Any, Any, dict[str, Any]]]:
    """A family whose tokenizer matters elsewhere."""

    def made() -> tuple[Any, Any, dict[str, Any]]:
        import transformers

        tokenizer = _unigram("<s>", "<pad>", "</s>", "<unk>")
        return getattr(transformers, f"{kind}Config"), tokenizer, SIZES | FAIRSEQ | {"decoder_start_token_id": 2} | more

    return made


def _unigram(*special: str, languages: list[str] | None = None) -> Any:
    """A tokenizer.json without a class of its own, which ends texts."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.Unigram(pieces(*special), special.index("<unk>"), False))
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    made.add_special_tokens([*special, *(languages or [])])
    end = made.token_to_id("</s>")
    made.post_processor = processors.TemplateProcessing(single=["$A", "</s>"], special_tokens=[("</s>", end)])
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token="</s>", pad_token="<pad>", unk_token="<unk>")


CHECKPOINTS: dict[str, Callable[[], tuple[Any, Any, dict[str, Any]]]] = {
    "bart": _bart,
    "blenderbot": _plain("Blenderbot"),
    "led": _plain("LED", max_encoder_position_embeddings=64, max_decoder_position_embeddings=64, attention_window=8),
    "m2m_100": _m2m,
    "marian": _marian,
    "mbart": _mbart,
    "mbart50": _mbart50,
    "mt5": _t5("MT5", feed_forward_proj="gated-gelu", tie_word_embeddings=False),
    "mvp": _plain("Mvp"),
    "nllb": _nllb,
    "pegasus": _pegasus,
    "pegasus_x": _plain("PegasusX", block_size=8, num_global_tokens=4, stagger_local_blocks=False),
    "t5": _t5(),
    "umt5": _t5("UMT5", feed_forward_proj="gated-gelu"),
}
# Codes of the languages, of families that have some.
CODES = {
    "m2m_100": {"source": "en", "target": "uk"},
    "marian": {"target": "ukr"},
    "mbart": {"source": "en_XX", "target": "ro_RO"},
    "mbart50": {"source": "en_XX", "target": "uk_UA"},
    "nllb": {"source": "eng_Latn", "target": "ukr_Cyrl"},
}


def write(family: str, folder: Path, seed: int = 0) -> Path:
    """A checkpoint of a family in a folder, with weights so large that its parts show in what it writes."""
    from transformers import AutoModelForSeq2SeqLM

    kind, tokenizer, settings = CHECKPOINTS[family]()
    torch.manual_seed(seed)
    config = kind(vocab_size=len(tokenizer), dropout=0.0, **settings)
    model = AutoModelForSeq2SeqLM.from_config(config)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.normal_(std=0.7 * weight.shape[-1] ** -0.5)
            else:
                weight += 0.1 * torch.randn_like(weight)
    if family == "marian":  # as those of the hub, which begin with padding and never write it
        model.generation_config.update(num_beams=3, bad_words_ids=[[config.pad_token_id]])
    model.save_pretrained(folder, safe_serialization=True)
    tokenizer.save_pretrained(folder)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    return folder


def corpus(
    folder: Path, checkpoint: Path, sides: Sides, pairs: list[tuple[list[int], list[int]]]
) -> PretrainedTranslation:
    """The task over a corpus of given ids in all splits."""
    from modelmill.tasks.translation.framing import described

    with ShardedWriter(folder / "examples") as writer:
        for number, (source, target) in enumerate(pairs):
            text = {f"{side}_text": np.zeros(0, np.uint8) for side in ("source", "target")}
            ids = {"source": np.array(source, np.uint16), "target": np.array(target, np.uint16)}
            for split in ("train", "validation", "test"):
                writer.add(split, number, ids | text)
    (folder / "sides.json").write_bytes(sides.to_json())
    files = {f"checkpoint/{file.name}": file for file in checkpoint.iterdir() if file.suffix == ".json"}
    files |= writer.files() | {"checkpoint/sides.json": folder / "sides.json"}
    info = described(checkpoint, sides) | {"model": "auto"}
    return PretrainedTranslation(Manifest(kind="corpus", entries=[], made_from={}, info=info), files, None)


def plain_sides(checkpoint: Path, length: int = 24) -> Sides:
    """Sides that end each text, whatever the tokenizer does."""
    end = json.loads((checkpoint / "config.json").read_text())["eos_token_id"]
    side = Side("tokenizer.json", "", [], [end])
    return Sides(side, side, length, None, False, False)
