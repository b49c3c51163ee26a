"""Answers of a causal language model: a static cache, batches of like lengths, and draws that a seed decides.

An answer depends on its own prompt, settings and seed, and not on what is asked beside it: each row has a generator of
its own, and prompts share a batch only where the model is seen to give a padded one the same scores.
"""

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from modelmill.tasks.serving.drawing import Draw
from modelmill.tasks.serving.settings import Sampling

# The largest batch: its prompts, and their tokens with the padding.
ROWS, TOKENS = 16, 16384
# Largest difference of a padded prompt's scores, as a fraction of the largest score.
_FULL, _HALF = 1e-3, 5e-2
# Tokens of an answer whose scores are compared.
_TRIED = 3


class Asked(NamedTuple):
    """A prompt.

    Attributes:
        ids: Its token ids.
        room: The most tokens of the answer.
    """

    ids: list[int]
    room: int


class Answer(NamedTuple):
    """An answer.

    Attributes:
        ids: Its token ids, without the one that ends it.
        is_finished: Whether it ended by itself; False where its room was full.
    """

    ids: list[int]
    is_finished: bool


IsOver = Callable[[list[int]], bool]


class Generator:
    """A model that answers prompts, one batch at a time.

    Attributes:
        model: The causal language model, on its device.
        ends: Ids of the tokens that end an answer.
    """

    def __init__(self, model: Any, ends: Sequence[int]) -> None:
        """Take a model, of which only the ends in its own generation settings are kept.

        Args:
            model: The model, in evaluation mode.
            ends: Ids of the tokens that end an answer.
        """
        from transformers import GenerationConfig

        own = model.generation_config.eos_token_id
        self.ends = sorted({*ends, *([own] if isinstance(own, int) else own or [])})
        self.model = model
        # A repetition penalty, say, which nobody has asked for, and which evaluation does not measure with.
        model.generation_config = GenerationConfig(eos_token_id=own)
        self._alone = threading.Lock()
        self._shares: bool | None = None

    def answers(self, asked: Sequence[Asked], sampling: Sampling, is_over: IsOver | None = None) -> list[Answer]:
        """Return an answer to each prompt, in their order.

        Args:
            asked: The prompts.
            sampling: How tokens are chosen.
            is_over: Whether an answer, as far as it goes, is one to stop at.
        """
        found: dict[int, Answer] = {}
        with self._alone:
            for numbers in self._batches(asked):
                watch = _Watch([asked[n].room for n in numbers], self.ends, is_over)
                self._run([asked[n].ids for n in numbers], watch, sampling)
                found |= dict(zip(numbers, watch.answers(), strict=True))
        return [found[n] for n in range(len(asked))]

    def stream(self, asked: Asked, sampling: Sampling, is_over: IsOver | None = None) -> Iterator[Answer]:
        """Yield the answer to a prompt as far as it goes, a token longer each time, and at last the whole answer.

        Args:
            asked: The prompt.
            sampling: How tokens are chosen.
            is_over: Whether an answer, as far as it goes, is one to stop at.
        """
        said: queue.SimpleQueue[list[int] | BaseException | None] = queue.SimpleQueue()
        watch = _Watch([asked.room], self.ends, is_over, said.put)

        def work() -> None:
            try:
                with self._alone:
                    self._run([asked.ids], watch, sampling)
                said.put(None)
            except BaseException as error:  # raised where somebody waits for it
                said.put(error)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        try:
            while (news := said.get()) is not None:
                if isinstance(news, BaseException):
                    raise news
                yield Answer(news, False)
        finally:
            watch.is_cancelled = True
            thread.join()
        yield watch.answers()[0]

    def _batches(self, asked: Sequence[Asked]) -> Iterator[list[int]]:
        """Yield the numbers of prompts that are answered together, the longest first."""
        batch: list[int] = []
        for number in sorted(range(len(asked)), key=lambda n: -len(asked[n].ids)):
            if batch:
                longest = asked[batch[0]].ids
                fits = len(batch) < ROWS and (len(batch) + 1) * len(longest) <= TOKENS
                if not fits or not self._can_share(longest, asked[number].ids):
                    yield batch
                    batch = []
            batch.append(number)
        if batch:
            yield batch

    def _can_share(self, long: list[int], short: list[int]) -> bool:
        """Return whether the model says the same in a batch with padding, seen once on a token beside a long prompt.

        A state forgets padding before many tokens, but not before one.
        """
        if self._shares is None:
            one, other = short[-1:], (2 * long)[: max(2, len(long) - _TRIED)]
            alone, beside = (self._first_scores(prompts) for prompts in ([one], [other, one]))
            allowed = _FULL if self.model.dtype.itemsize > 2 else _HALF
            self._shares = all(
                bool((mine - shared).abs().max() <= allowed * mine.abs().max())
                for mine, shared in zip(alone, beside, strict=False)
            )
        return self._shares

    def _first_scores(self, prompts: list[list[int]]) -> list[Any]:
        """Return the scores of the last prompt's next tokens."""
        made = self._generate(prompts, _TRIED, {"output_logits": True, "return_dict_in_generate": True})
        return [logits[-1].float().cpu() for logits in made.logits]

    def _run(self, prompts: list[list[int]], watch: "_Watch", sampling: Sampling) -> None:
        drawing = [Draw(sampling, len(prompts))] if sampling.temperature else []
        self._generate(prompts, max(watch.rooms), {}, logits_processor=drawing, stopping_criteria=[watch])

    def _generate(self, prompts: list[list[int]], most: int, returned: dict[str, bool], **options: Any) -> Any:
        """Generate from a batch, padded on the left; `returned` says what is beside ids, as `GenerationConfig` does."""
        import torch
        from transformers import GenerationConfig

        width, device = max(map(len, prompts)), self.model.device
        lacking = [width - len(ids) for ids in prompts]
        rows = [[self.ends[0]] * n + ids for n, ids in zip(lacking, prompts, strict=True)]
        mask = [[0] * n + [1] * (width - n) for n in lacking]
        # The scores alone decide, with a draw's noise in them.
        config = GenerationConfig(
            max_new_tokens=most,
            do_sample=False,
            num_beams=1,
            eos_token_id=self.ends,
            pad_token_id=self.ends[0],
            disable_compile=True,
            **returned,
        )
        return self.model.generate(
            torch.tensor(rows, device=device),
            attention_mask=torch.tensor(mask, device=device),
            generation_config=config,
            **self._cache(width + most),
            **options,
        )

    def _cache(self, length: int) -> dict[str, Any]:
        """Return a static cache for so many tokens, except for models that keep a state of their own kind."""
        from transformers import StaticCache

        model = self.model
        if getattr(model, "_is_stateful", False) or not model._supports_default_dynamic_cache():
            return {}
        return {"past_key_values": StaticCache(config=model.config.get_text_config(decoder=True), max_cache_len=length)}


class _Watch:
    """Stops each row of a batch where its answer is over, and keeps what was said until then.

    Attributes:
        rooms: The most tokens of each answer.
        is_cancelled: Whether nobody waits any more.
    """

    def __init__(
        self,
        rooms: list[int],
        ends: list[int],
        is_over: IsOver | None,
        tell: Callable[[list[int]], None] | None = None,
    ) -> None:
        self.rooms = rooms
        self.is_cancelled = False
        self._ends, self._is_over, self._tell = set(ends), is_over, tell
        self._said: list[list[int]] = [[] for _ in rooms]
        self._finished: list[bool | None] = [None] * len(rooms)

    def __call__(self, ids: Any, scores: Any, **options: Any) -> Any:
        """Return which rows are over, after each token."""
        import torch

        for row, token in enumerate(ids[:, -1].tolist()):
            if self._finished[row] is None:
                self._finished[row] = self._take(row, token)
        over = [self.is_cancelled or finished is not None for finished in self._finished]
        return torch.tensor(over, device=ids.device)

    def answers(self) -> list[Answer]:
        """Return the answers."""
        return [Answer(said, bool(done)) for said, done in zip(self._said, self._finished, strict=True)]

    def _take(self, row: int, token: int) -> bool | None:
        """Return whether an answer is over by itself, or is because its room is full (False); None while it goes on."""
        if token in self._ends:
            return True
        said = self._said[row]
        said.append(token)
        if self._tell:
            self._tell(said.copy())
        if self._is_over and self._is_over(said):
            return True
        return False if len(said) >= self.rooms[row] else None
