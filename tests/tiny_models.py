"""The smallest model of each task, in the files that its serving script reads."""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save_file
from torch import nn

from modelmill.data.media.audio import encode
from modelmill.data.media.images import png
from modelmill.models.architectures import inception
from modelmill.models.speech.recogniser import Recogniser
from modelmill.tasks.character_modeling.network import CharacterRNN
from modelmill.tasks.image_classification.network import ImageClassifier
from modelmill.tasks.image_detection import network as detection
from modelmill.tasks.image_generation import layouts
from modelmill.tasks.image_generation import networks as generation
from modelmill.tasks.recommendation import network as recommendation
from modelmill.tasks.speech_enhancement import network as enhancement
from modelmill.tasks.speech_synthesis.network import Synthesiser
from modelmill.tasks.tabular_classification.network import MLP
from tests.component.registrations import write_language_model

PROMPTING = {"before": [0], "after": [1], "end": [0], "trims": False, "length": 64}


def write(task: str, folder: Path) -> tuple[pd.DataFrame, dict[str, Path]]:
    """A model with random weights; what it is asked, and what its script is given beside the folder."""
    folder.mkdir()
    torch.manual_seed(0)
    if task in _TRANSFORMERS:
        return _TRANSFORMERS[task](folder)
    config, network, files, asked = _NETWORKS[task]()
    for name, content in {"config.json": config, **files}.items():
        (folder / name).write_text(json.dumps(content))
    save_file({name: one.contiguous() for name, one in network.state_dict().items()}, folder / "model.safetensors")
    return pd.DataFrame(asked), {}


Made = tuple[dict[str, Any], nn.Module, dict[str, Any], dict[str, list[Any]]]


def _sound() -> str:
    samples = 0.3 * np.random.default_rng(0).standard_normal(4000).astype(np.float32)
    return base64.b64encode(encode(samples, 8000)).decode()


def _picture() -> str:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 52, 3), dtype=np.uint8)
    return base64.b64encode(png(pixels)).decode()


def _table() -> Made:
    config = {"features": ["a", "b"], "classes": ["x", "y", "z"], "hidden": [5], "activation": "gelu", "outputs": 3}
    scaler = {"mean": [1.0, 2.0], "scale": [0.5, 3.0]}
    return config, MLP(config), {"scaler.json": scaler}, {"a": [0.1, 3.0], "b": [-1.0, 2.0]}


def _characters() -> Made:
    config = {"type": "gru", "embedding_size": 8, "hidden_size": 16, "num_layers": 2, "warm_up": 3}
    return config, CharacterRNN(config), {}, {"prompt": ["abc", "hellö"]}


def _images() -> Made:
    config = {"layers": inception(3, 8, 2, 1), "features": 16, "classes": ["a", "b"], "size": 16, "channels": 3}
    return config, ImageClassifier(config), {}, {"image": [_picture()]}


def _detector() -> Made:
    config = {"classes": ["a", "b"], "width": 8, "size": 32, "small": "refuse"}
    network = detection.of_config(config)
    nn.init.constant_(network.heat.bias, 0.0)  # type: ignore[arg-type]
    return config, network, {}, {"image": [_picture()]}


def _generator() -> Made:
    shape: dict[str, Any] = {"latent": 4, "width": 8, "channels": 3, "size": 16}
    layers = {"generator": layouts.generator(4, 3, 16, 8), "discriminator": layouts.discriminator(3, 16, 8)}
    return shape | layers, generation.Adversarial(shape | layers), {}, {"seed": [0, 3], "count": [5, 1]}


def _recommender() -> Made:
    config = {"items": 20, "sequence_length": 6, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    config |= {"dropout": 0}
    catalogue = {"items": [f"i{n}" for n in range(20)], "unknown_items": "leave_out", "interactions": [1] * 20}
    return config, recommendation.of_config(config), {"catalogue.json": catalogue}, {"history": ["i1,i5", "nobody"]}


def _enhancer() -> Made:
    config = {"channels": 8, "blocks": 2, "window_seconds": 0.032, "sample_rate": 8000}
    return config, enhancement.of_config(config), {}, {"audio": [_sound()]}


def _recogniser() -> Made:
    config = {"alphabet": "abc ", "sample_rate": 8000, "mels": 16, "channels": 8, "hidden_size": 8, "num_layers": 1}
    network = Recogniser(config)
    nn.init.normal_(network.head.weight, std=3.0)
    return config, network, {}, {"audio": [_sound()]}


def _synthesiser() -> Made:
    config = {"alphabet": "abc ", "sample_rate": 8000, "lowercase": True, "mels": 16, "hidden_size": 8}
    config |= {"encoder_layers": 1, "decoder_layers": 1}
    return config, Synthesiser(config), {}, {"text": ["Ab c"]}


def _language_model(folder: Path) -> tuple[pd.DataFrame, dict[str, Path]]:
    write_language_model(folder)
    prompting = folder.with_name("prompting.json")
    prompting.write_text(json.dumps(PROMPTING))
    return pd.DataFrame({"prompt": ["def area"]}), {"prompting": prompting}


def _text_classifier(folder: Path) -> tuple[pd.DataFrame, dict[str, Path]]:
    from transformers import BertConfig, BertForSequenceClassification

    write_language_model(folder)
    config = BertConfig(
        vocab_size=258,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=8,
        id2label={0: "no", 1: "yes"},
        bos_token_id=0,
        eos_token_id=1,
        sequence_length=32,
    )
    BertForSequenceClassification(config).save_pretrained(folder, safe_serialization=True)
    return pd.DataFrame({"text": ["some text"]}), {}


def _tagger(folder: Path) -> tuple[pd.DataFrame, dict[str, Path]]:
    from transformers import BertConfig, BertForTokenClassification

    write_language_model(folder)
    config = BertConfig(
        vocab_size=258,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=8,
        id2label={0: "O", 1: "B-name", 2: "I-name"},
        sequence_length=32,
        word_splitting="punctuation",
    )
    BertForTokenClassification(config).save_pretrained(folder, safe_serialization=True)
    return pd.DataFrame({"text": ["some text, and more"]}), {}


def _translator(folder: Path) -> tuple[pd.DataFrame, dict[str, Path]]:
    from transformers import MBartConfig, MBartForConditionalGeneration

    write_language_model(folder)
    half = {"layers": 1, "attention_heads": 1, "ffn_dim": 8}
    config = MBartConfig(
        vocab_size=258,
        d_model=8,
        max_position_embeddings=16,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=0,
        decoder_start_token_id=1,
        forced_eos_token_id=None,
        **{f"{side}_{name}": value for side in ("encoder", "decoder") for name, value in half.items()},
    )
    MBartForConditionalGeneration(config).save_pretrained(folder, safe_serialization=True)
    return pd.DataFrame({"text": ["a word"]}), {}


_NETWORKS = {
    "tabular_classification": _table,
    "character_modeling": _characters,
    "image_classification": _images,
    "image_detection": _detector,
    "image_generation": _generator,
    "recommendation": _recommender,
    "speech_enhancement": _enhancer,
    "speech_recognition": _recogniser,
    "speech_synthesis": _synthesiser,
}
_TRANSFORMERS = {
    "language_modeling": _language_model,
    "text_classification": _text_classifier,
    "token_classification": _tagger,
    "translation": _translator,
}
