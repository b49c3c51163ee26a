"""Text hygiene: what is mended, what is left out and why, and that neither order nor processes matter."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelmill.corpus.split import split_of
from modelmill.corpus.text.cleaning import EMAIL, SECRET, clean
from modelmill.corpus.text.hygiene import deciding, overlaps
from modelmill.corpus.text.hygiene.fingerprints import Fingerprints, signature
from modelmill.corpus.text.hygiene.rules import REASONS, reason, repetition
from modelmill.corpus.text.hygiene.scan import FILE, KEPT, Scanned, scan
from modelmill.corpus.text.settings import Hygiene, LanguagePreprocessing
from modelmill.data.shards import find
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
        "git@github.com:owner/name.git, see https://github.com",
        "y = x@self.weight + x@other.weight.T + L@D@L.conjugate().T + A@sp.diags_array(C) + M@rows.of[0]",
        'url = f"https://{user}:{password}@{host}"',
        "url = 'http://%s:%s@%s' % (user, password, host)",
        '<assemblyIdentity publicKeyToken="1fc8b3b9a1e18e3b">',
        "postgres://<user>:<password>@<host>",
        "tokenizer_class = 'HiggsAudioV2TokenizerModel'",
        'token="<|reserved_special_token_6|>"',
        "TOKENS_ABOVE_1HR = 'cache_creation_input_tokens_above_1hr'",
        "password = os.environ['DB_PASSWORD_2_NEW']",
        "class Secret2Password1Token: token: str = ''",
        "sha256 = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'",
    ],
)
def test_ordinary_code_is_left_alone(text: str) -> None:
    cleaned = clean(text, REDACT)
    assert cleaned == (text, 0, 0, 0)


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


def test_documents_that_are_just_similar_enough_are_found_more_often_than_not(tmp_path: Path) -> None:
    prepared = preparation(near_duplicates={"similarity": 0.8, "words": 1})
    originals = [" ".join(f"w{n}x{k}" for k in range(180)) for n in range(60)]
    # 162 of 198 different words in common: a similarity of 0.82.
    edited = [text.rsplit(" ", 18)[0] + "".join(f" v{n}x{k}" for k in range(18)) for n, text in enumerate(originals)]
    # 144 of 216: 0.67.
    others = [text.rsplit(" ", 36)[0] + "".join(f" v{n}x{k}" for k in range(36)) for n, text in enumerate(originals)]
    train = ids_of("train", 120)
    found = {}
    for name, later in {"edited": edited, "others": others}.items():
        shard = scanned(tmp_path / name, list(zip(train, originals + later, strict=True)), prepared)
        (reasons,) = deciding.decide([shard], prepared.hygiene)
        assert named(reasons)[:60] == [None] * 60
        found[name] = named(reasons).count("near_duplicate")
    assert found["edited"] >= 36  # with signatures of 128, chance says which; an index that favours speed finds 20
    assert found["others"] <= 1


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


def decided(folder: Path, shards: list[list[tuple[str, str]]], prepared: LanguagePreprocessing) -> list[str | None]:
    """The reasons of all documents, contamination among them, as the step comes to them."""
    seen = [scanned(folder / str(n), documents, prepared) for n, documents in enumerate(shards)]
    reasons = deciding.decide(seen, prepared.hygiene)
    wanted = prepared.hygiene.contamination
    if wanted is not None:
        np.save(folder / "runs.npy", overlaps.held_out_runs(seen, reasons))
        found = [overlaps_of(folder / str(n), prepared, why, folder / "runs.npy") for n, why in enumerate(reasons)]
        for why, rows in zip(reasons, overlaps.contaminated(found, wanted.common), strict=True):
            why[rows] = REASONS.index("contaminated")
    return [name for why in reasons for name in named(why)]


def overlaps_of(folder: Path, prepared: LanguagePreprocessing, why: np.ndarray, runs: Path) -> overlaps.Overlaps:
    (shard,) = find(str(folder / "a.jsonl"), "auto")
    left_out = frozenset(np.flatnonzero(why != KEPT).tolist())
    made = overlaps.find_overlaps(shard, shard.tag, prepared, left_out, runs, folder / "overlaps")
    return overlaps.Overlaps.load(made[overlaps.FILE])


def test_training_documents_that_hold_a_run_of_a_held_out_one_are_left_out(tmp_path: Path) -> None:
    prepared = preparation(contamination={"words": 13})
    train, test = ids_of("train", 4), ids_of("test", 1)
    secret = prose(1, 40)
    words = secret.split()
    quoting = prose(2) + "\n" + ", ".join(words[5:18]).upper() + "\n" + prose(3)
    nearly = prose(4) + " " + " ".join(words[5:17]) + " " + prose(5)
    documents = [(train[0], quoting), (train[1], nearly), (test[0], secret), (train[2], prose(6)), (train[3], "")]
    assert decided(tmp_path, [documents], prepared) == ["contaminated", None, None, None, None]
    assert len(np.load(tmp_path / "runs.npy")) == 40 - 12


def test_held_out_documents_that_are_left_out_themselves_contaminate_nothing(tmp_path: Path) -> None:
    prepared = preparation(contamination={}, broken="drop", near_duplicates={})
    train, test = ids_of("train", 2), ids_of("test", 3)
    documents = [(test[0], prose(1)), (test[1], f"{prose(1)} {prose(2, 20)}"), (test[2], prose(3) + " \ufffd")]
    documents += [(train[0], f"{prose(4)} {prose(2, 20)}"), (train[1], prose(3))]
    assert decided(tmp_path, [documents], prepared) == [None, "near_duplicate", "broken", None, None]


@pytest.mark.parametrize(("common", "why"), [(3, None), (4, "contaminated"), (None, "contaminated")])
def test_a_phrase_that_many_documents_hold_is_no_contamination(tmp_path: Path, common: int, why: str | None) -> None:
    prepared = preparation(contamination={"words": 13, "common": common})
    train, test = ids_of("train", 5), ids_of("test", 1)
    licence, answer = prose(1, 20), prose(2, 20)
    licensed = [(i, f"{licence} {prose(10 + n)}") for n, i in enumerate(train[:4])]
    shards = [[*licensed[:2], (test[0], f"{licence} {answer}")], [*licensed[2:], (train[4], answer)]]
    assert decided(tmp_path, shards, prepared) == [why, why, None, why, why, "contaminated"]


def test_a_phrase_that_is_common_in_one_shard_is_so_in_all(tmp_path: Path) -> None:
    prepared = preparation(contamination={"words": 13, "common": 2})
    train, test = ids_of("train", 4), ids_of("test", 1)
    documents = [(i, f"{prose(1, 20)} {prose(10 + n)}") for n, i in enumerate([*train, *test])]
    assert decided(tmp_path, [documents[:3], documents[3:]], prepared) == [None] * 5


PIECES = [prose(200 + n, 20) for n in range(6)]
SPREAD = st.lists(
    st.tuples(st.sampled_from([str(n) for n in range(60)]), st.lists(st.integers(0, 5), min_size=1, max_size=3)),
    min_size=2,
    max_size=14,
)


@settings(max_examples=25, deadline=None)
@given(SPREAD, st.data())
def test_how_documents_are_spread_over_shards_makes_no_difference(
    tmp_path_factory: pytest.TempPathFactory, spread: list[tuple[str, list[int]]], data: st.DataObject
) -> None:
    prepared = preparation(exact_duplicates="drop", near_duplicates={}, contamination={"words": 13, "common": 2})
    documents = [(i, " ".join(PIECES[part] for part in parts)) for i, parts in spread]
    cut = data.draw(st.integers(1, len(documents) - 1))
    folder = tmp_path_factory.mktemp("spread")
    together = decided(folder / "one", [documents], prepared)
    assert decided(folder / "two", [documents[:cut], documents[cut:]], prepared) == together


def test_what_is_off_is_not_even_imported() -> None:
    code = (
        "import sys; from modelmill.corpus.text.hygiene.examining import examine; "
        "from modelmill.tasks.language_modeling import preprocess as language_modeling; "
        "from modelmill.tasks.language_modeling.recipe import LanguagePreprocessing; "
        "assert examine(None, [], LanguagePreprocessing()).info == {}; assert 'datasketch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


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
