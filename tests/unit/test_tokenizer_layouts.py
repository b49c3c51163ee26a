"""Tokenizers in the layouts that models come in, encoded as transformers encodes with them."""

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from modelmill.core.errors import UserError
from modelmill.runtime import compatibility, weights
from modelmill.store import Store
from tests import checkpoints

KEY = "preprocessing.tokenizer.from"
TEXTS = ["hello world", "Hello  there,\n world 42", "naïve ☃"]


def locate(folder: Path, store: Store) -> Path:
    return weights.locate(KEY, str(folder), store)


def config_of(folder: Path) -> dict[str, object]:
    return dict(json.loads((folder / "tokenizer_config.json").read_text()))


@pytest.fixture
def gpt2(tmp_path: Path) -> Path:
    """GPT-2's first layout: vocabulary and merges, and nothing that names a special token."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=270,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    trained.train_from_iterator(["hello world hello there"] * 3, trainer)
    folder = tmp_path / "gpt2"
    folder.mkdir()
    trained.model.save(str(folder))
    described = {"model_type": "gpt2", "vocab_size": 270, "bos_token_id": 0, "eos_token_id": 0}
    (folder / "config.json").write_text(json.dumps(described))
    return folder


def assert_encodes_alike(made: Path, original: Path) -> None:
    from transformers import AutoTokenizer

    expected = AutoTokenizer.from_pretrained(original, local_files_only=True)
    encoder = Tokenizer.from_file(str(made / "tokenizer.json"))
    for text in TEXTS:
        ids = expected(text, add_special_tokens=False)["input_ids"]
        assert encoder.encode(text, add_special_tokens=False).ids == ids


def test_a_tokenizer_folder_needs_no_weights(tmp_path: Path, store: Store) -> None:
    files = {name: data for name, data in checkpoints.sharded().items() if name.startswith("tokenizer")}
    folder = checkpoints.write(tmp_path / "t", files)
    assert locate(folder, store) == folder
    with pytest.raises(UserError, match=r"pretraining\.init: .*: no config\.json in it"):
        weights.locate("pretraining.init", str(folder), store)


def test_vocabulary_and_merges_become_a_tokenizer_once(gpt2: Path, store: Store) -> None:
    made = locate(gpt2, store)
    assert made != gpt2 and locate(gpt2, store) == made
    assert config_of(made)["eos_token"] == config_of(made)["bos_token"] == "<|endoftext|>"
    assert_encodes_alike(made, gpt2)
    # The model's own tokenizer is compared with it, not only their sizes.
    compatibility.require_vocabulary(gpt2, made / "tokenizer.json")
    other = checkpoints.write(gpt2.with_name("o"), {"tokenizer.json": checkpoints.tokenizer("<|endoftext|>", "x")})
    with pytest.raises(UserError, match="its tokenizer is another"):
        compatibility.require_vocabulary(gpt2, other / "tokenizer.json")


def test_a_class_of_transformers_names_the_special_tokens_where_no_file_does(gpt2: Path, store: Store) -> None:
    """As the hub has gpt2: `tokenizer.json` with a configuration that names no token."""
    (gpt2 / "tokenizer.json").write_bytes((locate(gpt2, store) / "tokenizer.json").read_bytes())
    (gpt2 / "tokenizer_config.json").write_text('{"model_max_length": 1024}')
    made = locate(gpt2, store)
    assert (made / "tokenizer.json").read_bytes() == (gpt2 / "tokenizer.json").read_bytes()
    assert config_of(made).items() >= {"model_max_length": 1024, "eos_token": "<|endoftext|>"}.items()


def test_a_list_of_word_pieces_becomes_a_tokenizer(tmp_path: Path, store: Store) -> None:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "hello", "wor", "##ld", "##s", ",", "n", "##ai", "##ve"]
    files = {"vocab.txt": "\n".join(words).encode(), "config.json": b'{"model_type": "bert"}'}
    folder = checkpoints.write(tmp_path / "bert", files)
    made = locate(folder, store)
    assert_encodes_alike(made, folder)
    assert config_of(made).items() >= {"cls_token": "[CLS]", "mask_token": "[MASK]", "do_lower_case": True}.items()


@pytest.mark.parametrize("config", [{}, {"eos_token": "a"}, {"eos_token": "a", "added_tokens_decoder": {}}])
def test_the_file_of_special_tokens_counts_as_in_transformers(
    tmp_path: Path, store: Store, config: dict[str, object]
) -> None:
    files = {
        "tokenizer.json": checkpoints.tokenizer("<s>", "a", "</s>"),
        "tokenizer_config.json": json.dumps(config).encode(),
        "special_tokens_map.json": b'{"eos_token": {"content": "</s>", "lstrip": false}, "bos_token": "<s>"}',
        "chat_template.jinja": b"{{ messages }}",
    }
    folder = checkpoints.write(tmp_path / "t", files)
    made = locate(folder, store)
    token = config_of(made)["eos_token"]
    expected = "a" if "added_tokens_decoder" in config else "</s>"
    assert (token["content"] if isinstance(token, dict) else token) == expected
    assert (made / "chat_template.jinja").read_bytes() == files["chat_template.jinja"]


def test_files_that_cannot_be_converted_here_are_one_line(tmp_path: Path, store: Store) -> None:
    with pytest.raises(UserError, match=rf"{KEY}: .*: no tokenizer\.json in it, nor another file with a vocabulary"):
        locate(checkpoints.write(tmp_path / "none", {"config.json": b"{}"}), store)
    files = {"tokenizer.model": b"\x0a\x0bnonsense", "config.json": b'{"model_type": "llama"}'}
    with pytest.raises(
        UserError, match=r"transformers cannot make one of tokenizer\.model here .*save_pretrained"
    ) as raised:
        locate(checkpoints.write(tmp_path / "llama", files), store)
    assert "\n" not in str(raised.value)
