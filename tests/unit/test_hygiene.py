"""Text hygiene: what is mended, what is left out and why, and that neither order nor processes matter."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.common.recipe.language_modeling import Hygiene, LanguagePreprocessing
from components.common.shards import find
from components.preprocessing.hygiene import deciding
from components.preprocessing.hygiene.cleaning import EMAIL, SECRET, clean
from components.preprocessing.hygiene.fingerprints import Fingerprints, signature
from components.preprocessing.hygiene.rules import REASONS, reason, repetition
from components.preprocessing.hygiene.scan import FILE, KEPT, Scanned, contaminated, scan
from components.preprocessing.split import split_of
from tests.recipes import source_file

REDACT = Hygiene(redact=["emails", "secrets"])
WORDS = [f"word{n}" for n in range(5000)]


def prose(seed: int, length: int = 300) -> str:
    draw = np.random.default_rng(seed)
    return " ".join(WORDS[n] for n in draw.integers(0, len(WORDS), length))


def preparation(**hygiene: Any) -> LanguagePreprocessing:
    return LanguagePreprocessing(validation=0.2, test=0.2, split_by="id", hygiene=Hygiene(**hygiene))


def scanned(folder: Path, documents: list[tuple[str, str]], prepared: LanguagePreprocessing) -> Scanned:
    """A shard of (id, text) as the first pass sees it."""
    import json

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "a.jsonl").write_text("".join(json.dumps({"id": i, "text": t}) + "\n" for i, t in documents))
    (shard,) = find(str(folder / "a.jsonl"), "auto")
    return Scanned.load(scan(shard, shard.tag, prepared, folder / "out")[FILE])


def named(reasons: np.ndarray) -> list[str | None]:
    return [None if why == KEPT else REASONS[why] for why in reasons]


def ids_of(split: str, count: int, start: int = 0) -> list[str]:
    """Identities that fall in a split."""
    found = (str(n) for n in range(start, 100_000) if split_of(str(n), preparation()) == split)
    return [next(found) for _ in range(count)]


def test_nothing_is_changed_or_left_out_unless_it_is_asked_for() -> None:
    text = "a@b.example ﬁ e\u0301 \ufffd\x00 AKIAABCDEFGHIJKLMNOP"
    assert clean(text, Hygiene()) == (text, 0, 0, 0)
    assert reason(text, Hygiene()) is None


def test_unicode_is_normalised_in_the_form_that_is_asked_for() -> None:
    assert clean("e\u0301 ﬁ", Hygiene(unicode="NFC")) == ("\u00e9 ﬁ", 1, 0, 0)
    assert clean("e\u0301 ﬁ", Hygiene(unicode="NFKC")).text == "\u00e9 fi"
    assert clean("plain", Hygiene(unicode="NFC")).normalised == 0


@pytest.mark.parametrize(
    "text",
    ["ann.lee@example.com", "<x_y+tag@mail.example.co.uk>", "mailto:a@b.io?subject", "to: a.b@c-d.org, then"],
)
def test_email_addresses_are_replaced(text: str) -> None:
    cleaned = clean(text, REDACT)
    assert EMAIL in cleaned.text and "@" not in cleaned.text and cleaned.emails == 1


@pytest.mark.parametrize(
    "text",
    [
        "aws = AKIAIOSFODNN7EXAMPLE",
        "ghp_" + "a1B2" * 9,
        "github_pat_" + "a1B2" * 9,
        "xoxb-" + "123456789012-abcdefABCDEF",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abcDEF123_-xyz",
        "postgres://user:hunter2@db.example/x",
        'password = "corre3ct-horse-9"',
        "{'api_key': 'abcd1234efgh5678'}",
        "CLIENT_SECRET: \"s3cr3ts3cr3ts3cr3t\"",
        "-----BEGIN RSA PRIVATE KEY-----\nMIIabc\n+/=\n-----END RSA PRIVATE KEY-----",
    ],
)  # fmt: skip
def test_secrets_are_replaced(text: str) -> None:
    cleaned = clean(text, REDACT)
    assert SECRET in cleaned.text and cleaned.secrets == 1 and cleaned.emails == 0
    assert not any(part in cleaned.text for part in ("hunter2", "horse", "MIIabc", "a1B2", "AKIA", "eyJ", "1234"))


@pytest.mark.parametrize(
    "text",
    [
        "@property\ndef f(self): return a @ b",
        "def f(): pass\n@pytest.fixture\ndef g(): pass\n@a.b",
        "password = input('password: ')",
        'token = "END_OF_TEXT_TOKEN"',
        "secret_santa = 'somebody-nice'",
        "x = d['a']@d['b']; user@host",
        "https://docs.python.org/3/library/re.html",
        "git@github.com:owner",
        "sha256 = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'",
    ],
)
def test_ordinary_code_is_left_alone(text: str) -> None:
    cleaned = clean(text, REDACT)
    assert (cleaned.text, cleaned.secrets) == (text, 0) or text.startswith("git@")


@pytest.mark.parametrize("text", ["a", "a@", "a.", "secret='", "-----BEGIN PRIVATE KEY-----", "://a:", "eyJaaaaaaaa."])
def test_no_text_keeps_the_redaction_busy_for_ever(text: str) -> None:
    clean(text * 500_000, REDACT)  # a quadratic search would meet the time limit of the tests


@pytest.mark.parametrize(
    ("rule", "bad", "good", "why"),
    [
        ({"broken": "drop"}, "a \ufffd", "a", "broken"),
        ({"broken": "drop"}, "a\x00b", "a\tb\r\n\x0c", "broken"),
        ({"min_characters": 3}, "ab", "abc", "too_short"),
        ({"max_characters": 3}, "abcd", "abc", "too_long"),
        ({"max_repetition": 0.4}, "x = 1\n" * 2, "x = 1\ny = 2\n\n\n", "repetitive"),
    ],
)
def test_a_document_is_left_out_for_what_it_is(rule: dict[str, Any], bad: str, good: str, why: str) -> None:
    assert reason(bad, Hygiene(**rule)) == why
    assert reason(good, Hygiene(**rule)) is None


def test_repetition_is_the_share_of_characters_in_lines_that_were_there_before() -> None:
    assert repetition("") == repetition("\n \n") == 0
    assert repetition("aaaa\nbb\n  aaaa\n") == pytest.approx(0.4)


def test_of_equal_documents_the_first_stays_and_a_held_out_one_before_it(tmp_path: Path) -> None:
    prepared = preparation(exact_duplicates="drop", unicode="NFC")
    train, test = ids_of("train", 3), ids_of("test", 1)
    first = scanned(tmp_path / "1", [(train[0], "alpha"), (train[1], "b\u00e9ta"), (train[2], "gamma")], prepared)
    second = scanned(tmp_path / "2", [(train[0], "alpha"), (train[1], "be\u0301ta"), (test[0], "gamma")], prepared)
    reasons = deciding.decide([first, second], prepared.hygiene)
    duplicate = "exact_duplicate"
    assert [named(why) for why in reasons] == [[None, None, duplicate], [duplicate, duplicate, None]]


def test_nearly_equal_documents_are_found_and_others_are_not(tmp_path: Path) -> None:
    prepared = preparation(near_duplicates={})
    train = ids_of("train", 60)
    originals = [prose(n) for n in range(30)]
    edited = [text.replace(" ", "\n", 5).upper() + " and a few words more" for text in originals]
    half = [text[: len(text) // 2] + prose(100 + n, 150) for n, text in enumerate(originals)]
    shard = scanned(tmp_path, list(zip(train, originals + edited, strict=True)), prepared)
    (reasons,) = deciding.decide([shard], prepared.hygiene)
    assert named(reasons) == [None] * 30 + ["near_duplicate"] * 30
    shard = scanned(tmp_path / "half", list(zip(train, originals + half, strict=True)), prepared)
    (reasons,) = deciding.decide([shard], prepared.hygiene)
    assert named(reasons) == [None] * 60


def test_documents_without_words_are_no_duplicates_of_each_other(tmp_path: Path) -> None:
    prepared = preparation(near_duplicates={})
    shard = scanned(tmp_path, list(zip(ids_of("train", 3), ["", "...", "!!"], strict=True)), prepared)
    (reasons,) = deciding.decide([shard], prepared.hygiene)
    assert named(reasons) == [None] * 3


@settings(max_examples=25)
@given(st.integers(20, 200), st.integers(0, 200), st.integers(0, 99))
def test_signatures_estimate_the_similarity_of_sets(common: int, own: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    shared, a, b = (draw.integers(0, 2**64, n, np.uint64) for n in (common, own, own))
    both = [signature(np.unique(np.concatenate([shared, mine])), 512) for mine in (a, b)]
    assert (both[0] == both[1]).mean() == pytest.approx(common / (common + 2 * own), abs=0.12)


@given(st.lists(st.sampled_from("abcde"), max_size=40), st.integers(1, 6))
def test_equal_runs_have_equal_hashes_and_others_have_not(words: list[str], length: int) -> None:
    runs = {tuple(words[n : n + length]) for n in range(len(words) - length + 1)} or {tuple(words)} - {()}
    assert len(Fingerprints().runs(" ".join(words), length)) == len(runs)
    assert (
        Fingerprints().runs(", ".join(words).upper(), length).tolist()
        == Fingerprints().runs(" ".join(words), length).tolist()
    )


def test_training_documents_that_hold_a_run_of_a_held_out_one_are_found(tmp_path: Path) -> None:
    prepared = preparation(contamination={"words": 13})
    train, test = ids_of("train", 4), ids_of("test", 1)
    secret = prose(1, 40)
    words = secret.split()
    quoting = prose(2) + "\n" + ", ".join(words[5:18]).upper() + "\n" + prose(3)
    nearly = prose(4) + " " + " ".join(words[5:17]) + " " + prose(5)
    documents = [(train[0], quoting), (train[1], nearly), (test[0], secret), (train[2], prose(6)), (train[3], "")]
    shard = scanned(tmp_path, documents, prepared)
    reasons = deciding.decide([shard], prepared.hygiene)
    runs = deciding.held_out_runs([shard], reasons)
    assert len(runs) == 40 - 12
    np.save(tmp_path / "runs.npy", runs)
    (found,) = find(str(tmp_path / "a.jsonl"), "auto")
    assert contaminated(found, found.tag, prepared, frozenset(), tmp_path / "runs.npy") == [0]
    assert contaminated(found, found.tag, prepared, frozenset([0]), tmp_path / "runs.npy") == []


DOCUMENTS = st.lists(
    st.tuples(st.sampled_from([str(n) for n in range(40)]), st.integers(0, 6)), min_size=1, max_size=12
)


@settings(max_examples=20, deadline=None)
@given(DOCUMENTS, DOCUMENTS)
def test_a_shard_at_the_end_takes_no_document_out_before_it_but_for_a_held_out_one(
    tmp_path_factory: pytest.TempPathFactory, first: list[tuple[str, int]], last: list[tuple[str, int]]
) -> None:
    prepared = preparation(exact_duplicates="drop", near_duplicates={})
    texts = [source_file(n) * (n + 1) for n in range(7)]
    shards = [
        scanned(tmp_path_factory.mktemp("s"), [(i, texts[t]) for i, t in part], prepared) for part in (first, last)
    ]
    alone = deciding.decide(shards[:1], prepared.hygiene)[0]
    together = deciding.decide(shards, prepared.hygiene)
    for row, (before, after) in enumerate(zip(alone, together[0], strict=True)):
        if before == KEPT != after:
            assert split_of(first[row][0], prepared) == "train"
            assert any(split_of(i, prepared) != "train" for i, _ in last)
