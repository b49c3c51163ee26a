"""Settings of an answer, read from a request's parameters and checked."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from modelmill.tasks.serving.model import refusal
from modelmill.tasks.serving.parameters import DEFAULT_TOKENS, MOST_TOKENS

# What is not done, with the value that asks for nothing, and what to do instead.
_NOT_DONE = {
    "n": (1, "there is one answer a request; ask again with another seed"),
    "stream": (False, "MLflow's server sends whole answers; use predict_stream of mlflow.pyfunc, or leave it out"),
    "logprobs": (False, "probabilities are not given; leave it out"),
    "frequency_penalty": (0, "there are no penalties; leave it out"),
    "presence_penalty": (0, "there are no penalties; leave it out"),
}


class Sampling(NamedTuple):
    """How the next token is chosen.

    Attributes:
        temperature: Divides the scores; 0 takes the likeliest token.
        top_p: Only the likeliest tokens whose probabilities add up to this are drawn from.
        top_k: Only this many of the likeliest are drawn from; 0 for all.
        seed: Of each answer's generator; None for one that nobody knows.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None


class Settings(NamedTuple):
    """Settings of an answer.

    Attributes:
        most: The most tokens of an answer.
        sampling: How tokens are chosen.
        stops: Texts before which an answer ends.
        drops_turns: Whether a conversation that does not fit loses its oldest turns; else it is refused.
    """

    most: int
    sampling: Sampling = Sampling()
    stops: tuple[str, ...] = ()
    drops_turns: bool = False


def read(params: Mapping[str, Any] | None, asked: str) -> Settings:
    """Return the settings of a request.

    Args:
        params: Its parameters; those that are missing or None have their defaults.
        asked: `prompt` or `messages`.

    Raises:
        MlflowException: One has a value that makes no sense, or asks for what is not done.
    """
    given = {name: value for name, value in (params or {}).items() if value is not None}
    for name, (nothing, instead) in _NOT_DONE.items():
        if given.get(name, nothing) != nothing:
            raise refusal(f"{name}: {given[name]} is not possible: {instead}")
    most = next((given[name] for name in MOST_TOKENS if name in given), DEFAULT_TOKENS[asked])
    _require(most >= 1, "max_tokens", most, "1 or more")
    stops = given.get("stop", [])
    stops = tuple([stops] if isinstance(stops, str) else stops)
    _require(all(isinstance(stop, str) and stop for stop in stops), "stop", list(stops), "texts that are not empty")
    truncation = given.get("truncation", "disabled")
    _require(truncation in ("auto", "disabled"), "truncation", truncation, "auto or disabled")
    return Settings(int(most), _sampling(given), stops, truncation == "auto")


def _sampling(given: Mapping[str, Any]) -> Sampling:
    """Return how tokens are chosen."""
    sampling = Sampling(**{name: given[name] for name in Sampling._fields if name in given})
    _require(0 <= sampling.temperature <= 2, "temperature", sampling.temperature, "0 to 2")
    _require(0 < sampling.top_p <= 1, "top_p", sampling.top_p, "above 0 and at most 1")
    _require(sampling.top_k >= 0, "top_k", sampling.top_k, "0 or more")
    return sampling


def _require(is_good: bool, name: str, value: object, allowed: str) -> None:
    if not is_good:
        raise refusal(f"{name}: {value} is not possible; it is {allowed}")
