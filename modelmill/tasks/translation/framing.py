"""How a checkpoint's own tokenizer frames texts: what `transformers` puts around them, seen by asking it."""

from pathlib import Path
from typing import Any

from modelmill.core.errors import ModelmillError, UserError, one_line
from modelmill.corpus.text import given_tokenizer
from modelmill.runtime.sources.layout import PAIRED_TOKENIZERS, PAIRED_VOCABULARY
from modelmill.runtime.weights import TOKENIZER_KEY
from modelmill.tasks.translation import languages
from modelmill.tasks.translation.recipe import TranslationPreprocessing
from modelmill.tasks.translation.sides import SHARED, Encoder, Side, Sides, load_tokenizer

# What is asked: a text whose ids are found again among those of the whole.
_PROBE = "a b"
# Texts that are compared at a time.
CHECKED = 64


class Framing:
    """The tokenizer of a checkpoint as `transformers` has it, set to the recipe's languages."""

    def __init__(self, folder: Path, settings: TranslationPreprocessing) -> None:
        """Load the tokenizer.

        Args:
            folder: The checkpoint's configuration and tokenizer.
            settings: The recipe's `preprocessing`.

        Raises:
            UserError: transformers cannot load the tokenizer, or it has no token for a language.
        """
        self.folder, self.settings = folder, settings
        self.source, self.target = settings.codes
        self.known = languages.require(folder, self.source, self.target)
        # Made of files that transformers reads with another library, if at all.
        self.is_paired = all((folder / name).is_file() for name in PAIRED_TOKENIZERS)
        self.theirs = _bare_tokenizer(folder) if self.is_paired else _tokenizer(folder)
        # Classes of transformers for families with languages frame texts by them; a bare tokenizer.json does not.
        self.knows_languages = isinstance(getattr(type(self.theirs), "src_lang", None), property)
        if self.known.both and self.knows_languages:
            self.theirs.src_lang, self.theirs.tgt_lang = self.source, self.target

    def sides(self) -> Sides:
        """Return both sides of a translation.

        Raises:
            UserError: The recipe's length leaves no room for a text.
        """
        length = self.settings.sequence_length
        source, target = self._side(is_target=False), self._side(is_target=True)
        if length <= max(len(side.before) + len(side.after) for side in (source, target)):
            raise UserError("preprocessing.sequence_length: the tokens around a text leave no room for it; raise it")
        token = self.known.both.get(str(self.target))
        language = None if token is None else self.theirs.convert_tokens_to_ids(token)
        return Sides(
            source._replace(prefix=self.settings.prefix), target, length, language, self.is_paired, self._cleans()
        )

    def require_alike(self, encoder: Encoder, texts: list[str]) -> None:
        """Check that texts are encoded as the checkpoint's own tokenizer does it.

        Args:
            encoder: Encoder of a side.
            texts: Some texts.

        Raises:
            ModelmillError: A text is encoded in another way.
        """
        for text in [] if self.is_paired else texts[:CHECKED]:
            whole = encoder.side.prefix + text
            ids = self.theirs(whole, add_special_tokens=False, split_special_tokens=True)["input_ids"]
            if encoder.ids([text]) != [[*encoder.side.before, *ids, *encoder.side.after]]:
                raise ModelmillError(
                    f"{TOKENIZER_KEY}: {self.folder}: {type(self.theirs).__name__} reads {text!r:.60} in another way "
                    f"than {encoder.side.tokenizer} alone; please report it with both files"
                )

    def _side(self, is_target: bool) -> Side:
        if self.is_paired:
            return self._paired_side(is_target)
        bare = self.theirs(_PROBE, add_special_tokens=False)["input_ids"]
        whole = (self.theirs(text_target=_PROBE) if is_target else self.theirs(_PROBE))["input_ids"]
        first = next((n for n in range(len(whole)) if whole[n : n + len(bare)] == bare), None)
        if first is None:
            kind = type(self.theirs).__name__
            raise UserError(
                f"{TOKENIZER_KEY}: {self.folder}: {kind} changes the ids of a text by what it puts around it"
            )
        before, after = whole[:first], whole[first + len(bare) :]
        if self.known and not self.knows_languages:
            before = self._with_language(before, is_target)
        return Side(SHARED, "", before, after)

    def _paired_side(self, is_target: bool) -> Side:
        """Return a side that has a tokenizer of its own."""
        number = self.theirs.convert_tokens_to_ids
        before = self._with_language([], is_target) if self.known else []
        after = [number(self.theirs.eos_token)]
        unknown = number(self.theirs.unk_token)
        return Side(PAIRED_TOKENIZERS[is_target], "", before, after, PAIRED_VOCABULARY, unknown)

    def _with_language(self, before: list[int], is_target: bool) -> list[int]:
        """Return the ids before a text with its language's, for a tokenizer to which languages are mere tokens."""
        number = self.theirs.convert_tokens_to_ids
        if self.known.both:  # M2M100: each text begins with its own language
            others = {number(token) for token in self.known.both.values()}
            own = self.known.both[str(self.target if is_target else self.source)]
            return [number(own), *(one for one in before if one not in others)]
        return before if is_target else [number(self.known.written[str(self.target)]), *before]

    def _cleans(self) -> bool:
        """Return whether transformers takes out spaces before punctuation when it decodes; of BPE it does not."""
        theirs = self.theirs
        is_bpe = type(getattr(getattr(theirs, "backend_tokenizer", None), "model", None)).__name__ == "BPE"
        forced = theirs.clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output
        return bool(theirs.clean_up_tokenization_spaces) and (not is_bpe or forced)


def described(folder: Path, both: Sides) -> dict[str, Any]:
    """Return what a corpus says of a checkpoint beside its files.

    Args:
        folder: The checkpoint's configuration and tokenizer.
        both: Both sides of a translation.

    Raises:
        UserError: The checkpoint names no token that fills up rows.
    """
    from transformers import AutoConfig

    padding = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False).pad_token_id
    if padding is None:
        raise UserError(
            f"{TOKENIZER_KEY}: its config.json names no pad_token_id, and texts of other lengths need one; set it"
        )
    size = load_tokenizer(folder / SHARED).get_vocab_size(with_added_tokens=True)
    return {"sequence_length": both.length, "padding": padding, "vocab_size": size}


def _tokenizer(folder: Path) -> Any:
    """Return the tokenizer that transformers has for a checkpoint.

    Raises:
        UserError: It has none.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (ImportError, ValueError):  # for want of the library that its class reads other files with
        return _bare_tokenizer(folder)
    except Exception as error:  # whatever a tokenizer's class raises of its files
        raise UserError(
            f"{TOKENIZER_KEY}: {folder}: not a tokenizer that transformers loads: {one_line(error)[:200]}"
        ) from error


def _bare_tokenizer(folder: Path) -> Any:
    """Return what `tokenizer.json` and the names of special tokens say, whatever the class."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(tokenizer_file=str(folder / SHARED), **given_tokenizer.named_tokens(folder))
