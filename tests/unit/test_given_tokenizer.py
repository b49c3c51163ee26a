"""A tokenizer that is taken from a model: the files of a corpus say all that its users get from `transformers`."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import AutoTokenizer

from modelmill.core.errors import UserError
from modelmill.corpus import packing
from modelmill.corpus.text import given_tokenizer, tokenizer
from tests.chat_families import FAMILIES, write
from tests.chat_models import write_chat_model
from tests.recipes import source_file

TEXTS = ["def area(w):\n    return w", " two  spaces", "Ünïcode 語", source_file(3)]


def laid_out(folder: Path, config: dict[str, Any], model_type: str, **files: Any) -> Path:
    write_chat_model(folder, None)
    (folder / "config.json").write_text(json.dumps({"model_type": model_type}))
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize(
    ("config", "model_type", "files"),
    [
        ({"model_max_length": 1024}, "gpt2", {}),  # as gpt2's: a class knows the names
        ({}, "llama", {"special_tokens_map": {"eos_token": "<|endoftext|>"}}),
        ({}, "opt", {"special_tokens_map": {"eos_token": {"content": "<|endoftext|>", "lstrip": False}}}),
        ({"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": {"content": "<|endoftext|>"}}, "llama", {}),
    ],
)
def test_end_of_text_is_read_wherever_it_stands(
    config: dict[str, Any], model_type: str, files: dict[str, Any], tmp_path: Path
) -> None:
    given_tokenizer.copy(laid_out(tmp_path / "model", config, model_type, **files), tmp_path / "copied")
    assert tokenizer.vocabulary(tmp_path / "copied").end == 0
    assert given_tokenizer.named_tokens(tmp_path / "copied")["eos_token"] == "<|endoftext|>"


def test_a_document_for_bert_is_what_its_tokenizer_makes_of_it(tmp_path: Path) -> None:
    source = tmp_path / "model"
    source.mkdir()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = {token: number for number, token in enumerate([*special, *"abdefnrtuw():", "##e", "##f", "return"])}
    made = Tokenizer(models.WordPiece(words, unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    made.add_special_tokens(special)
    made.save(str(source / "tokenizer.json"))
    (source / "tokenizer_config.json").write_text('{"do_lower_case": true, "model_max_length": 512}')
    (source / "config.json").write_text('{"model_type": "bert"}')
    given_tokenizer.copy(source, tmp_path / "copied")
    encoder, theirs = tokenizer.Encoder(tmp_path / "copied"), AutoTokenizer.from_pretrained(source)
    (ids,) = encoder.ids(["Return (b)"])
    stream = packing.pack_documents([ids], encoder.vocabulary.end, encoder.dtype, 0, encoder.vocabulary.opening)
    assert stream.tokens[:-1].tolist() == theirs("Return (b)").input_ids
    assert (
        given_tokenizer.named_tokens(tmp_path / "copied").items()
        >= {"pad_token": "[PAD]", "mask_token": "[MASK]"}.items()
    )


def test_a_tokenizer_without_an_end_is_refused_with_the_files_that_could_name_it(tmp_path: Path) -> None:
    laid_out(tmp_path / "model", {"tokenizer_class": "PreTrainedTokenizerFast"}, "llama")
    given_tokenizer.copy(tmp_path / "model", tmp_path / "copied")
    with pytest.raises(UserError, match=r"neither tokenizer_config\.json nor special_tokens_map\.json names an eos_"):
        tokenizer.vocabulary(tmp_path / "copied")


def test_files_that_say_all_are_copied_as_they_are(tmp_path: Path) -> None:
    source = write_chat_model(tmp_path / "model", "{{ messages }}", own_file=True)
    given_tokenizer.copy(source, tmp_path / "copied")
    names = ["chat_template.jinja", "tokenizer.json", "tokenizer_config.json"]
    assert sorted(file.name for file in (tmp_path / "copied").iterdir()) == names
    assert all((tmp_path / "copied" / name).read_bytes() == (source / name).read_bytes() for name in names)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_document_opens_with_what_its_users_open_with(name: str, tmp_path: Path) -> None:
    source = write(tmp_path / "model", FAMILIES[name])
    given_tokenizer.copy(source, tmp_path / "copied")
    encoder, theirs = tokenizer.Encoder(tmp_path / "copied"), AutoTokenizer.from_pretrained(source)
    end, opening = encoder.vocabulary.end, encoder.vocabulary.opening
    assert bool(opening) == (FAMILIES[name].bos is not None)
    stream = packing.pack_documents(encoder.ids(TEXTS), end, np.dtype(np.uint16), 0, opening)
    for text, begin, stop in zip(TEXTS, stream.offsets[:-1], stream.offsets[1:], strict=True):
        ids = stream.tokens[begin:stop].tolist()
        if opening:
            assert ids == [*theirs(text).input_ids, end]
        else:
            assert ids == [end, *theirs(text).input_ids], "END is between documents, and nothing else is"
    if stream.learned is not None:
        assert (stream.tokens[stream.learned == 0] == opening[0]).all() and int((stream.learned == 0).sum()) == 5


def test_a_class_that_splits_in_other_ways_than_its_file_says_counts(tmp_path: Path) -> None:
    source = write(tmp_path / "model", FAMILIES["llama-2"])
    given_tokenizer.copy(source, tmp_path / "copied")
    theirs = AutoTokenizer.from_pretrained(source)
    text = "</s>a word"  # the file puts a space after a special token, Llama's class does not
    raw, copied = (Tokenizer.from_file(str(tmp_path / f / "tokenizer.json")) for f in ("model", "copied"))
    assert raw.encode(text, add_special_tokens=False).ids != theirs(text, add_special_tokens=False).input_ids
    assert copied.encode(text, add_special_tokens=False).ids == theirs(text, add_special_tokens=False).input_ids
    again = AutoTokenizer.from_pretrained(tmp_path / "copied")
    assert again(text).input_ids == theirs(text).input_ids
