"""Speech recognisers with a CTC head or a decoder, each with its own processor and tokenizer."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from modelmill.corpus.example_shards import ShardedWriter
from modelmill.runtime import weights
from modelmill.store.manifest import Manifest
from modelmill.tasks.speech_recognition import checkpoint_corpus, spelling
from modelmill.tasks.speech_recognition.pretrained import PretrainedRecognition
from modelmill.tasks.speech_recognition.recipe import RecognitionPreprocessing
from tests.speech import spoken

TITLE = "Speech recognisers"
RATE = 16_000
TEXTS, SPLIT = ("ab cd", "dad", "a"), "train"
# Vocabulary of the CTC heads: capital letters, as wav2vec 2.0's have them.
LETTERS = {token: number for number, token in enumerate(["<pad>", "<s>", "</s>", "<unk>", "|", *"ABCDE"])}
_LANGUAGES = ("en", "de", "fr")
_SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
# Frames of 20 ms.
_CONVOLUTIONS = {
    "conv_dim": (8, 8, 8),
    "conv_kernel": (20, 8, 4),
    "conv_stride": (10, 8, 4),
    "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
}
_CTC = {"vocab_size": len(LETTERS), "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_LAYER_NORM = {"feat_extract_norm": "layer", "do_stable_layer_norm": True}
_HALVES = {
    f"{side}_{name}": value
    for side in ("encoder", "decoder")
    for name, value in {"layers": 2, "attention_heads": 2, "ffn_dim": 32}.items()
}

# Settings by `model_type`, beside those of all.
_HEARING_SAMPLES: dict[str, dict[str, Any]] = {
    "wav2vec2": _LAYER_NORM,
    "wav2vec2-conformer": {"position_embeddings_type": "relative", "conv_depthwise_kernel_size": 5, **_LAYER_NORM},
    "hubert": _LAYER_NORM,
    "wavlm": {"num_buckets": 8, "max_bucket_distance": 16, **_LAYER_NORM},
    "unispeech": {"num_codevectors_per_group": 4, "codevector_dim": 8, "proj_codevector_dim": 8, **_LAYER_NORM},
    "unispeech-sat": {"num_codevectors_per_group": 4, "codevector_dim": 8, "proj_codevector_dim": 8, **_LAYER_NORM},
    "data2vec-audio": {"conv_pos_kernel_size": 5, "num_conv_pos_embeddings": 2},
    "sew": {"squeeze_factor": 2, "feat_extract_norm": "layer"},
    "sew-d": {"squeeze_factor": 2, "feat_extract_norm": "layer", "max_position_embeddings": 64, "position_buckets": 8},
}
FAMILIES = [*_HEARING_SAMPLES, "wav2vec2-bert", "whisper", "moonshine"]


def write(family: str, folder: Path, seed: int = 0, **changes: Any) -> Path:
    """Write a checkpoint as `save_pretrained` does, and return its folder.

    Args:
        family: The `model_type`.
        folder: The folder to make.
        seed: Seed of the weights.
        **changes: Settings of the configuration.
    """
    torch.manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    model, extractor = _OTHERS.get(family, lambda **more: _of_samples(family, **more))(**changes)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1 and weight.numel() > 1:
                weight.normal_(std=1.5 * weight.shape[-1] ** -0.5)
    model.save_pretrained(folder, safe_serialization=True)
    extractor.save_pretrained(folder)
    _TOKENIZERS.get(family, _write_letters)(folder)
    return folder


def _of_samples(family: str, **changes: Any) -> tuple[Any, Any]:
    from transformers import AutoModelForCTC, Wav2Vec2FeatureExtractor
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    said = {**_SMALL, **_CONVOLUTIONS, **_CTC, **_HEARING_SAMPLES[family], **changes}
    masked = said.get("feat_extract_norm") == "layer"
    extractor = Wav2Vec2FeatureExtractor(return_attention_mask=masked, do_normalize=True)
    return AutoModelForCTC.from_config(CONFIG_MAPPING[family](**said)), extractor


def _wav2vec2_bert(**changes: Any) -> tuple[Any, Any]:
    from transformers import SeamlessM4TFeatureExtractor, Wav2Vec2BertConfig, Wav2Vec2BertForCTC

    more = {"feature_projection_input_dim": 40, "conv_depthwise_kernel_size": 5, "left_max_position_embeddings": 8}
    config = Wav2Vec2BertConfig(**{**_SMALL, **_CTC, **more, "right_max_position_embeddings": 2, **changes})
    return Wav2Vec2BertForCTC(config), SeamlessM4TFeatureExtractor(feature_size=20, num_mel_bins=20, stride=2)


def _whisper(**changes: Any) -> tuple[Any, Any]:
    from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration

    tokens = _whisper_tokens()
    end = tokens["<|endoftext|>"]
    said = {
        **{"vocab_size": len(tokens), "d_model": 16, "num_mel_bins": 16, "max_source_positions": 100},
        **{"max_target_positions": 24, "decoder_start_token_id": tokens["<|startoftranscript|>"], **_HALVES},
        **{name: end for name in ("pad_token_id", "bos_token_id", "eos_token_id")},
    }
    config = WhisperConfig(**{**said, **changes})
    model = WhisperForConditionalGeneration(config)
    model.generation_config.update(max_length=24, suppress_tokens=[], begin_suppress_tokens=[])
    return model, WhisperFeatureExtractor(feature_size=16, chunk_length=2)


def _moonshine(**changes: Any) -> tuple[Any, Any]:
    from transformers import MoonshineConfig, MoonshineForConditionalGeneration, Wav2Vec2FeatureExtractor

    halves = {
        f"{side}_num_{name}": 2
        for side in ("encoder", "decoder")
        for name in ("hidden_layers", "attention_heads", "key_value_heads")
    }
    said = {"vocab_size": 260, "hidden_size": 16, "intermediate_size": 32, "max_position_embeddings": 32, **halves}
    config = MoonshineConfig(**{**said, "pad_token_id": 2, **changes})
    model = MoonshineForConditionalGeneration(config)
    model.generation_config.update(max_length=24)
    return model, Wav2Vec2FeatureExtractor(do_normalize=False, return_attention_mask=True)


def _write_letters(folder: Path) -> None:
    (folder / "vocab.json").write_text(json.dumps(LETTERS))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "Wav2Vec2CTCTokenizer"}))


def _whisper_tokens() -> dict[str, int]:
    from tokenizers.pre_tokenizers import ByteLevel

    asked = ["<|startoftranscript|>", *(f"<|{one}|>" for one in _LANGUAGES), "<|translate|>", "<|transcribe|>"]
    tokens = [*sorted(ByteLevel.alphabet()), "<|endoftext|>", *asked, "<|notimestamps|>", "<|0.00|>"]
    return {token: number for number, token in enumerate(tokens)}


def _write_whisper_tokens(folder: Path) -> None:
    from transformers import WhisperTokenizer

    tokens = _whisper_tokens()
    plain = {token: number for token, number in tokens.items() if not token.startswith("<|")}
    tokenizer = WhisperTokenizer(vocab=plain, merges=[])
    tokenizer.add_special_tokens({"additional_special_tokens": [one for one in tokens if one.startswith("<|")]})
    tokenizer.save_pretrained(folder)


def _write_bytes(folder: Path) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    tokens = ["<unk>", "<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    backend = Tokenizer(models.BPE(vocab={one: n for n, one in enumerate(tokens)}, merges=[], unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="</s>"
    )
    tokenizer.save_pretrained(folder)


_OTHERS: dict[str, Callable[..., tuple[Any, Any]]] = {
    "wav2vec2-bert": _wav2vec2_bert,
    "whisper": _whisper,
    "moonshine": _moonshine,
}
_TOKENIZERS: dict[str, Callable[[Path], None]] = {"whisper": _write_whisper_tokens, "moonshine": _write_bytes}


def settings(**changes: Any) -> RecognitionPreprocessing:
    return RecognitionPreprocessing(**{"lowercase": False, **changes})


def spelled(folder: Path, *texts: str, **changes: Any) -> spelling.Spelling:
    given = checkpoint_corpus.described(folder)
    return spelling.spelling(given.folder, given.config, given.head, settings(**changes), texts or TEXTS)


def task_over(folder: Path, **changes: Any) -> PretrainedRecognition:
    """The task over a corpus of three recordings of different lengths."""
    scratch = folder.parent / f"{folder.name}-corpus"
    made, given = spelled(folder, **changes), checkpoint_corpus.described(folder)
    with ShardedWriter(scratch) as writer:
        for number, text in enumerate(TEXTS):
            pcm = (spoken(text, rate=RATE) * (1 << 15)).astype(np.int16)
            writer.add(f"{SPLIT}/only", number, {"samples": pcm, "labels": made.numbers(made.tidied(text))})
    files = {f"checkpoint/{file.name}": file for file in weights.describing_files(folder)} | writer.files()
    for name, content in made.files.items():
        (scratch / name).write_bytes(content)
        files[f"checkpoint/{name}"] = scratch / name
    if made.changes:
        config = json.loads((folder / "config.json").read_text()) | made.changes
        (scratch / "config.json").write_text(json.dumps(config))
        files["checkpoint/config.json"] = scratch / "config.json"
    info = {"model": "auto", "head": given.head, "corpora": {}, **made.info}
    return PretrainedRecognition(Manifest(kind="corpus", info=info), files, None)


def task_of(family: str, folder: Path) -> tuple[PretrainedRecognition, Path]:
    """See `tests.pretrained`."""
    made = write(family, folder / family)
    return task_over(made, **({"language": "de"} if family == "whisper" else {})), made
