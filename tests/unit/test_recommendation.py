"""The maths of a recommender: histories, windows, ranks and gains, baselines, and serving that computes as training."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from safetensors.torch import save_file

from modelmill.tasks.recommendation import demo, ranking
from modelmill.tasks.recommendation.histories import LEAST, gather, training, windows
from modelmill.tasks.recommendation.ranking import KnownItems, Ranked
from modelmill.tasks.recommendation.recipe import InteractionPreprocessing
from modelmill.tasks.recommendation.serve import Recommender, parse
from modelmill.tasks.recommendation.task import SASRec


def test_histories_are_in_the_order_of_time_and_the_catalogue_in_that_of_popularity() -> None:
    rows = [("b", "x", 3), ("a", "y", 9), ("b", "y", 1), ("a", "x", 2), ("b", "z", 2), ("a", "z", 5), ("b", "w", 4)]
    users, items, times = zip(*rows, strict=True)
    found = gather(list(users), list(items), np.array(times), 1)
    named = [[found.catalogue[n - 1] for n in found.of(user)] for user in range(2)]
    assert (found.users, named) == (["a", "b"], [["x", "z", "y"], ["y", "z", "x", "w"]])
    # In training are x of a, y and z of b: all others are held out, and ties go by name.
    assert found.catalogue == ["x", "y", "z", "w"]
    assert training(found.items, found.offsets)[1].tolist() == [1, 2, 3]


def test_an_item_counts_once_and_rare_items_and_cold_users_are_left_out() -> None:
    rows = [("a", i, t) for t, i in enumerate("pqrp")] + [("b", i, t) for t, i in enumerate("pqr")]
    rows += [("c", "p", 0), ("d", "p", 0), ("d", "p", 1), ("d", "q", 2), ("d", "rare", 3)]
    users, items, times = zip(*rows, strict=True)
    found = gather(list(users), list(items), np.array(times), 2)
    assert found.users == ["a", "b"] and np.diff(found.offsets).tolist() == [3, 3]
    assert "rare" not in found.catalogue
    assert found.cold == {"c": 1, "d": 2} and max(found.cold.values()) < LEAST


@given(st.integers(2, 60), st.integers(2, 9))
def test_every_item_but_the_first_is_learned_in_exactly_one_window(size: int, length: int) -> None:
    pieces = windows(np.arange(size), length)
    assert [n for piece in pieces for n in piece[1:].tolist()] == list(range(1, size))
    assert all(2 <= len(piece) <= length + 1 for piece in pieces)


def test_a_gain_is_that_of_the_definition() -> None:
    ranked = Ranked(np.array([0, 1, 9, 10]), np.zeros((4, 10), np.int64))
    assert ranked.hits.tolist() == [True, True, True, False]
    assert ranked.gains == pytest.approx([1, 1 / np.log2(3), 1 / np.log2(11), 0])


KNOWN = KnownItems(np.array([1, 2, 3, 2, 1, 3, 4, 1, 2, 4, 3, 5]), np.array([0, 3, 7, 12]), 5)


@given(st.integers(0, 2**31), st.booleans())
def test_a_rank_is_the_place_in_a_sorted_list_of_what_the_user_has_not_come_to(seed: int, has_ties: bool) -> None:
    scores = np.random.default_rng(seed).normal(size=(3, 5))
    scores = scores.round() if has_ties else scores
    ranked = ranking.rank(KNOWN, lambda users, place: scores[users])
    for user in range(3):
        history = KNOWN.items[KNOWN.offsets[user] : KNOWN.offsets[user + 1]].tolist()
        unseen = [n for n in range(1, 6) if n not in history[:-1]]
        expected = sorted(unseen, key=lambda n: (-scores[user, n - 1], n))
        assert expected.index(history[-1]) == ranked.places[user]
        assert ranked.first[user, : len(unseen)].tolist() == expected


def test_item_knn_adds_up_cosines_and_popularity_counts_training_alone() -> None:
    # Training: user 0 has item 1, user 1 items 2 and 1, user 2 items 1, 2 and 4.
    assert ranking.popularity(KNOWN)(np.array([0]), 1).tolist() == [[3, 2, 0, 1, 0]]
    scores = ranking.item_knn(KNOWN)(np.array([1]), 1)[0]  # after the items 2, 1 and 3
    one_two, one_four, two_four = 2 / np.sqrt(3 * 2), 1 / np.sqrt(3), 1 / np.sqrt(2)
    assert scores == pytest.approx([one_two, one_two, 0, one_four + two_four, 0])


def test_only_the_nearest_neighbours_add_to_a_score() -> None:
    kept = ranking._nearest(ranking._cosines(KNOWN.training()), 1).toarray()
    assert [np.flatnonzero(column).tolist() for column in kept.T] == [[1], [0], [], [1], []]


def test_what_comes_later_and_what_is_padding_changes_nothing() -> None:
    torch.manual_seed(0)
    model = SASRec(20, 6, 16, 2, 2, 0.0).eval()
    items = torch.tensor([[0, 0, 3, 4, 5, 6]])
    hidden = model.hidden(items)
    later = model.hidden(torch.tensor([[0, 0, 3, 4, 9, 9]]))
    assert torch.allclose(hidden[:, :4], later[:, :4], atol=1e-6) and not torch.allclose(hidden[:, 4], later[:, 4])
    with torch.no_grad():
        model.items.weight[0] = 7.0
    assert torch.allclose(hidden[:, 2:], model.hidden(items)[:, 2:], atol=1e-6)


def test_serving_computes_what_training_does(tmp_path: Path) -> None:
    torch.manual_seed(1)
    model = SASRec(30, 5, 16, 2, 4, 0.3).eval()
    config = {"items": 30, "sequence_length": 5, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4}
    config |= {"dropout": 0.3}
    names = [f"i{n}" for n in range(1, 31)]
    catalogue = {"items": names, "interactions": [1] * 30, "unknown_items": "leave_out"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "catalogue.json").write_text(json.dumps(catalogue))
    save_file(
        {name: tensor.contiguous() for name, tensor in model.state_dict().items()}, tmp_path / "model.safetensors"
    )
    served = Recommender()
    served.load_context(SimpleNamespace(artifacts={"model": str(tmp_path)}))
    for history in ([4], [4, 9, 2], [1, 2, 3, 4, 5, 6, 7]):
        last = history[-5:]
        expected = model(torch.tensor([[0] * (5 - len(last)) + last]))[0].log_softmax(0).detach().numpy()
        answer = served._answer(json.dumps([f"i{n}" for n in [*history]] + ["nobody knows"]), 30)
        assert answer["unknown"] == ["nobody knows"]
        order = [n for n in np.argsort(-expected, kind="stable") + 1 if n not in history]
        assert answer["items"] == [f"i{n}" for n in order]
        assert answer["scores"] == pytest.approx([expected[n - 1] for n in order], abs=1e-4)


def test_a_history_is_a_json_list_or_has_commas() -> None:
    assert parse('["a, b", 3]') == ["a, b", "3"]
    assert parse(" a, b ,,c") == ["a", "b", "c"] and parse("") == parse("[]") == []


def test_a_recipe_says_what_is_held_out_and_takes_nothing_else() -> None:
    settings = InteractionPreprocessing(item_minimum=5)
    assert settings.held_out["preprocessing.test"] == "the last interaction of each user"
    assert settings.held_out["preprocessing.item_minimum"] == 5
    for wrong in ({"test": 0.1}, {"split_by": "path"}, {"rating": "stars"}):
        with pytest.raises(ValidationError):
            InteractionPreprocessing(**wrong)


def test_imports_are_read_with_their_full_names_and_lines() -> None:
    source = (
        b'"""Text."""\nimport os, json as j\nfrom a.b import (\n    c,\n)\n\n'
        b"from . import d\nfrom ..e import f\n  import not_this\n"
    )
    found = list(demo.imports(source, ("pkg", "sub")))
    assert found == [(2, "os"), (2, "json"), (3, "a.b"), (7, "pkg.sub"), (8, "pkg.e")]
    assert list(demo.imports(b"from . import d\nimport re  # why\n", ("no-package",))) == [(2, "re")]
