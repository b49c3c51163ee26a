"""A recurrent language model over bytes: its windows, its loss, the n-gram model, and what documents are made of."""

import ast
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from modelmill.core.digest import fraction
from modelmill.corpus.settings import ONLY
from modelmill.corpus.text.python_sources import taken_apart
from modelmill.measures.ngrams import NGrams
from modelmill.store.manifest import Manifest
from modelmill.tasks.character_modeling import demo, evaluate, generation
from modelmill.tasks.character_modeling.recipe import RecurrentModel
from modelmill.tasks.character_modeling.stream import pack
from modelmill.tasks.character_modeling.symbols import BOUNDARY, SYMBOLS
from modelmill.tasks.character_modeling.task import IGNORED, CharacterModeling, Windows
from modelmill.training.loop import probe

DOCUMENTS = [b"abcabc", b"x", "naïve".encode(), b"the cat sat on the mat", b"the dog sat on the log"]
WARM_UP, LENGTH = 4, 7


def task_of(folder: Path, documents: list[bytes] = DOCUMENTS, length: int = LENGTH, **model: Any) -> CharacterModeling:
    """A small model over documents that are one corpus."""
    files = {}
    for name, array in pack(documents).items():
        files[f"train/{ONLY}/{name}.npy"] = folder / f"{name}.npy"
        np.save(folder / f"{name}.npy", array)
    corpus = Manifest(kind="corpus", info={"corpora": {ONLY: {}}, "length": length, "warm_up": WARM_UP})
    torch.manual_seed(0)
    return CharacterModeling(corpus, files, RecurrentModel(**{"embedding_size": 5, "hidden_size": 11} | model))


def windows_of(task: CharacterModeling) -> Windows:
    return task.examples("pretraining", "train")


def test_documents_become_a_stream_that_can_be_taken_apart_again(tmp_path: Path) -> None:
    windows = windows_of(task_of(tmp_path, [b"same", b"same", b"other"]))
    assert [bytes(d[:-1].astype(np.uint8)) for d in windows.documents()] == [b"same", b"same", b"other"]
    assert all(document[-1] == BOUNDARY for document in windows.documents())
    assert windows.ids[0] == windows.ids[1] != windows.ids[2]


def test_every_symbol_is_a_label_once_after_its_own_predecessors(tmp_path: Path) -> None:
    windows = windows_of(task_of(tmp_path))
    batch = windows.batch(np.arange(len(windows)))
    labels, symbols = batch["labels"].numpy(), batch["symbols"].numpy()
    stream = windows.tokens.astype(np.int64)
    assert labels[labels != IGNORED].tolist() == stream.tolist()
    assert labels.shape == (len(windows), LENGTH) and symbols.shape == (len(windows), WARM_UP + LENGTH)
    for number, row in enumerate(symbols):
        first = number * LENGTH
        begin = int(windows.offsets[np.searchsorted(windows.offsets, first, side="right") - 1])
        before = [stream[p] if p >= begin else BOUNDARY for p in range(first - WARM_UP - 1, first)]
        assert row[: WARM_UP + 1].tolist() == before
        after = stream[first : first + LENGTH - 1].tolist()
        assert row[WARM_UP + 1 :].tolist() == after + [BOUNDARY] * (LENGTH - 1 - len(after))


def test_no_gradient_goes_back_into_the_warm_up_but_it_is_known(tmp_path: Path) -> None:
    task = task_of(tmp_path)
    model = task.build()
    labels = torch.full((1, LENGTH), 3)
    losses = {}
    for warm_up in (1, 2):
        symbols = torch.cat([torch.full((1, WARM_UP), warm_up), labels], 1)
        loss = task.loss(model, {"symbols": symbols, "labels": labels})
        losses[warm_up] = loss.item()
        model.zero_grad()
        loss.backward()
        gradient = model.embedding.weight.grad
        assert gradient is not None and not gradient[warm_up].any() and gradient[3].any()
    assert losses[1] != losses[2]


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_a_document_is_measured_as_it_was_trained_and_alone(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "BATCH", 2)
    monkeypatch.setattr(evaluate, "PIECE", 5)
    task = task_of(tmp_path, type=kind, num_layers=2)
    model = task.build().eval()
    found = evaluate.document_losses(model, windows_of(task).documents(), windows_of(task).opening)
    for loss, document in zip(found, DOCUMENTS, strict=True):
        alone = task_of(tmp_path, [document], length=len(document) + 1)
        batch = windows_of(alone).batch(np.zeros(1, np.int64))
        assert loss == pytest.approx(task.loss(model, batch).item(), rel=1e-5)
        assert task.terms(batch) == len(document) + 1


def test_a_model_is_loaded_as_it_was_saved_whatever_the_dropout(tmp_path: Path) -> None:
    task = task_of(tmp_path, dropout=0.5)
    model = task.build().eval()
    (tmp_path / "model").mkdir()
    task.save(model, tmp_path / "model")
    loaded = task_of(tmp_path, dropout=0.1).load(tmp_path / "model").eval()
    symbols = torch.tensor([[BOUNDARY, 97, 98]])
    assert torch.equal(model(symbols)[0], loaded(symbols)[0])


def test_greedy_text_is_what_the_model_says_step_by_step_and_drawn_text_is_repeatable(tmp_path: Path) -> None:
    model = task_of(tmp_path).build().eval()
    prompt = np.frombuffer(b"the ", np.uint8)
    greedy = generation.proceed(model, prompt, 6, WARM_UP)
    given = [BOUNDARY] * WARM_UP + prompt.tolist()
    for symbol in greedy:
        assert int(model(torch.tensor([given]))[0][0, -1].argmax()) == symbol
        given.append(symbol)
    drawn = [generation.proceed(model, prompt, 20, WARM_UP, 5.0, torch.Generator().manual_seed(3)) for _ in range(2)]
    assert drawn[0] == drawn[1] and len(greedy) <= 6


def test_text_ends_where_the_document_does(tmp_path: Path) -> None:
    model = task_of(tmp_path).build().eval()
    with torch.no_grad():
        model.head.bias[BOUNDARY] = 100.0
    assert generation.proceed(model, np.array([97]), 10, WARM_UP) == []


def plain_kneser_ney(documents: list[list[int]], order: int, context: tuple[int, ...], symbol: int) -> float:
    """Chen and Goodman's recursion as it is written down, with a dictionary of n-grams."""
    padded = [[BOUNDARY] * (order - 1) + one for one in documents]
    highest = [tuple(one[i : i + order]) for one in padded for i in range(len(one) - order + 1)]
    n = len(context) + 1
    if n == order:
        counts = {gram: highest.count(gram) for gram in set(highest)}
    else:
        longer = {gram[order - n - 1 :] for gram in highest}
        counts = {gram: sum(one[1:] == gram for one in longer) for gram in {one[1:] for one in longer}}
    met = [max(1, sum(count == k for count in counts.values())) for k in (1, 2, 3, 4)]
    share = met[0] / (met[0] + 2 * met[1])
    limits = ((0.1, 0.9), (0.1, 1.9), (0.1, 2.9))
    raw = [k - (k + 1) * share * met[k] / met[k - 1] for k in (1, 2, 3)]
    discount = [0.0, *(min(max(one, low), high) for one, (low, high) in zip(raw, limits, strict=True))]
    lower = plain_kneser_ney(documents, order, context[1:], symbol) if context else 1 / SYMBOLS
    mine = {gram: count for gram, count in counts.items() if gram[:-1] == context}
    if not mine:
        return lower
    total = sum(mine.values())
    spared = sum(discount[min(count, 3)] for count in mine.values())
    count = mine.get((*context, symbol), 0)
    return (count - discount[min(count, 3)] + spared * lower) / total


@pytest.mark.parametrize("order", [1, 2, 4])
def test_n_grams_are_chen_and_goodmans(order: int) -> None:
    packed, held_out = pack(DOCUMENTS), pack([b"the cat on the x", b"zz"])
    grams = NGrams(packed["tokens"], packed["offsets"], order, SYMBOLS)
    symbols = [[*document, BOUNDARY] for document in DOCUMENTS]
    expected = []
    for document in (b"the cat on the x", b"zz"):
        padded = [BOUNDARY] * (order - 1) + [*document, BOUNDARY]
        places = range(order - 1, len(padded))
        loss = [
            -math.log(plain_kneser_ney(symbols, order, tuple(padded[p - order + 1 : p]), padded[p])) for p in places
        ]
        expected.append(sum(loss))
    assert grams.losses(held_out["tokens"], held_out["offsets"]) == pytest.approx(expected)


def test_n_grams_are_probabilities() -> None:
    packed = pack(DOCUMENTS)
    grams = NGrams(packed["tokens"], packed["offsets"], 4, SYMBOLS)
    for prefix in (b"the ", b"q", b""):
        ways = np.array([[*prefix, symbol] for symbol in range(SYMBOLS)]).ravel()
        size = len(prefix) + 1
        losses = grams.losses(ways, np.arange(0, len(ways) + 1, size))
        given = grams.losses(np.array([*prefix]), np.array([0, len(prefix)]))[0] if prefix else 0.0
        assert np.exp(given - losses).sum() == pytest.approx(1)


def test_n_grams_of_five_are_probabilities_over_a_vocabulary_of_any_size() -> None:
    vocabulary, random = 49_152, np.random.default_rng(0)
    tokens = np.concatenate([np.tile([49_151, 7, 300, 7, 9, 30_000], 40), random.integers(0, vocabulary, 200)])
    grams = NGrams(tokens, np.array([0, 120, len(tokens)]), 5, vocabulary)
    given = np.array([49_151, 7, 300, 7])
    ways = np.concatenate([np.tile(given, (vocabulary, 1)), np.arange(vocabulary)[:, None]], axis=1)
    losses = grams.losses(ways.ravel(), np.arange(0, ways.size + 1, 5)) - grams.losses(given, np.array([0, 4]))[0]
    assert np.exp(-losses).sum() == pytest.approx(1)
    assert losses[9] < 0.1, "what always followed is expected"


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_recurrent_layers_are_counted(kind: str, tmp_path: Path) -> None:
    """Backward is twice forward; the warm-up has no backward pass, and no head."""
    task = task_of(tmp_path, type=kind, num_layers=2)
    model = task.build()
    weights = {name: p.numel() for name, p in model.named_parameters() if p.ndim == 2 and "embedding" not in name}
    layers, head = sum(n for name, n in weights.items() if "head" not in name), weights["head.weight"]
    batch = windows_of(task).batch(np.zeros(1, np.int64))
    expected = 2 * (layers * WARM_UP + 3 * (layers + head) * LENGTH)
    assert probe.measure(lambda: task.loss(model, batch), []).flops == pytest.approx(expected, rel=0.02)


def test_code_and_docstrings_are_taken_apart() -> None:
    source = (
        '"""A module."""\nimport os\n\n\nclass A:\n    """A class,\n\n    of lines.\n    """\n\n'
        '    def f(self): "beside"\n\n'
        '    def g(self):\n        # why\n        """What g is."""\n        return "text"\n'
    )
    code, docstrings = taken_apart(source)
    assert docstrings == ["A module.", "A class,\n\nof lines.", "What g is."]
    assert [line for line in source.split("\n") if line not in code.split("\n")] == [
        '"""A module."""',
        '    """A class,',
        "    of lines.",
        '    """',
        '        """What g is."""',
    ]
    assert '"beside"' in code and "# why" in code
    assert taken_apart("def broken(:\r\n") == ("def broken(:\n", [])


def test_the_demo_has_each_docstring_once_beside_its_code_and_none_in_code() -> None:
    files = demo.char_rnn(3)
    rows = {name: [json.loads(line) for line in data.decode().split("\n") if line] for name, data in files.items()}
    docstrings = [row for found in rows.values() for row in found if row["kind"] == "docstring"]
    assert len({row["text"] for row in docstrings}) == len(docstrings) > 1000
    for shard, found in enumerate(rows.values()):
        assert {int(fraction(row["path"]) * 3) for row in found} == {shard}
    code = {row["path"]: row["text"] for found in rows.values() for row in found if row["kind"] == "code"}
    assert ast.get_docstring(ast.parse(code["json/decoder.py"])) is None
    assert "class JSONDecoder" in code["json/decoder.py"] and "Simple JSON" not in code["json/decoder.py"]
