"""Answers of the served language model: in batches, drawn, stopped and streamed, beside those of transformers."""

import threading
from typing import Any

import pytest
import torch
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

from modelmill.tasks.serving.drawing import Draw
from modelmill.tasks.serving.generation import Answer, Asked, Generator
from modelmill.tasks.serving.settings import Sampling
from tests import families

GREEDY, DRAWN = Sampling(), Sampling(temperature=1.5, seed=7)
LENGTHS = (5, 9, 5, 23, 1, 9)
END = 0  # of the families' configurations, too
# Attention to all, in a window, with experts, in few dimensions; learned positions, distances; states beside attention.
FAMILIES = ["llama", "gemma3_text", "mixtral", "deepseek_v3", "gpt2", "bloom", "gpt_oss", "lfm2", "falcon_h1", "mamba2"]


class Blind(LlamaForCausalLM):
    """A model that looks at padding, as one of an unknown kind may."""

    def forward(self, *given: Any, attention_mask: Any = None, **options: Any) -> Any:
        return super().forward(*given, **options)


def tiny(kind: type[LlamaForCausalLM] = LlamaForCausalLM) -> Any:
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    return kind(
        LlamaConfig(vocab_size=64, max_position_embeddings=160, initializer_range=0.4, eos_token_id=END, **sizes)
    ).eval()


def prompts() -> list[list[int]]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(2, 60, (size,), generator=generator).tolist() for size in LENGTHS]


def alone(model: Any, ids: list[int], most: int, end: int = END) -> list[int]:
    """What transformers generates greedily of a prompt alone, with its own cache, up to the end."""
    config = GenerationConfig(max_new_tokens=most, do_sample=False, eos_token_id=end, pad_token_id=end)
    given = torch.tensor([ids])
    made = model.generate(given, attention_mask=torch.ones_like(given), generation_config=config)[
        0, len(ids) :
    ].tolist()
    return made[: made.index(end)] if end in made else made


def ids_of(answers: list[Answer]) -> list[list[int]]:
    return [answer.ids for answer in answers]


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_answers_of_a_batch_are_those_of_each_prompt_alone(family: str) -> None:
    model = families.model_of(family).eval()
    expected = [alone(model, ids, 6) for ids in prompts()]
    assert len({tuple(ids) for ids in expected}) > 2
    assert ids_of(Generator(model, [END]).answers([Asked(ids, 6) for ids in prompts()], GREEDY)) == expected


def test_a_model_that_looks_at_padding_is_given_none() -> None:
    model = tiny(Blind)
    expected = [alone(model, ids, 6) for ids in prompts()]
    assert ids_of(Generator(model, [END]).answers([Asked(ids, 6) for ids in prompts()], GREEDY)) == expected


def test_an_answer_ends_at_an_end_or_where_its_room_is_full() -> None:
    model, (ids, other, *_) = tiny(), prompts()
    end = next(token for token in alone(model, ids, 12) if token not in alone(model, other, 2))
    first, second = alone(model, ids, 12, end), alone(model, other, 2)
    model.generation_config.update(eos_token_id=end, repetition_penalty=9.0)
    generator = Generator(model, [END])
    assert generator.ends == Generator(model, [END]).ends == [END, end]
    answers = generator.answers([Asked(ids, 12), Asked(other, 2)], GREEDY)
    assert answers == [Answer(first, True), Answer(second, False)]


def test_a_draw_is_one_from_the_softmax_of_the_scores() -> None:
    scores, rows = torch.tensor([2.0, 1.0, 0.0, -1.0, -6.0]), 20_000
    draw = Draw(Sampling(temperature=2.0, seed=0), rows)
    for number, generator in enumerate(draw._generators):
        generator.manual_seed(number)
    counts = torch.bincount(draw(None, scores.repeat(rows, 1)).argmax(-1), minlength=5) / rows
    expected = torch.softmax(scores / 2, -1)
    assert torch.all((counts - expected).abs() < 4 * (expected * (1 - expected) / rows).sqrt())
    limited = Draw(Sampling(temperature=1.0, top_p=0.8, seed=0), 1)(None, scores[None])
    assert torch.isfinite(limited[0]).tolist() == [True, True, False, False, False]
    assert torch.isfinite(Draw(Sampling(temperature=1.0, top_k=3), 1)(None, scores[None])[0]).sum() == 3


def test_a_drawn_answer_depends_on_its_prompt_and_seed_alone() -> None:
    generator, asked = Generator(tiny(), [END]), [Asked(ids, 10) for ids in prompts()]
    together = generator.answers(asked, DRAWN)
    assert together == [generator.answers([one], DRAWN)[0] for one in asked]
    assert together == generator.answers(asked, DRAWN)
    assert together != generator.answers(asked, DRAWN._replace(seed=8))
    assert together != generator.answers(asked, GREEDY)
    unseeded = DRAWN._replace(seed=None)
    assert generator.answers(asked, unseeded) != generator.answers(asked, unseeded)


def test_a_stream_grows_to_the_whole_answer() -> None:
    generator, asked = Generator(tiny(), [END]), Asked(prompts()[3], 10)
    (whole,) = generator.answers([asked], GREEDY)
    *pieces, last = generator.stream(asked, GREEDY)
    assert last == whole
    assert ids_of(pieces) == [whole.ids[:size] for size in range(1, len(whole.ids) + 1)]


def test_a_stream_that_nobody_reads_to_its_end_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    generator, asked = Generator(tiny(), [END]), Asked(prompts()[3], 100)
    before = threading.active_count()
    stream = generator.stream(asked, GREEDY)
    next(stream)
    stream.close()
    assert threading.active_count() == before

    def fail(*_: Any, **__: Any) -> Any:
        raise ValueError("no memory")

    monkeypatch.setattr(generator.model, "generate", fail)
    with pytest.raises(ValueError, match="no memory"):
        list(generator.stream(asked, GREEDY))


def test_what_is_asked_at_once_is_answered_as_by_itself() -> None:
    generator, asked = Generator(tiny(), [END]), [Asked(ids, 12) for ids in prompts()]
    expected = [generator.answers([one], DRAWN) for one in asked]
    made: list[Any] = [None] * len(asked)

    def ask(number: int) -> None:
        made[number] = generator.answers([asked[number]], DRAWN)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(asked))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == expected


def test_a_stop_ends_an_answer_where_it_is_complete() -> None:
    generator, asked = Generator(tiny(), [END]), [Asked(ids, 10) for ids in prompts()[:2]]
    whole = ids_of(generator.answers(asked, GREEDY))
    wanted = whole[0][2:4]
    first, second = generator.answers(asked, GREEDY, lambda ids: ids[-2:] == wanted)
    assert first == Answer(whole[0][:4], True)
    assert second.ids == whole[1]
