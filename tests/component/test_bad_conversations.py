"""What bad conversations, preferences and templates get: one line with what, where and which key; exit code 2."""

from pathlib import Path
from typing import Any

import pytest

from modelmill import recipe as recipes
from modelmill.core.errors import UserError
from modelmill.corpus.text import sandbox
from tests.chat_models import CHATML, write_chat_model
from tests.component.steps import Steps
from tests.preference_steps import ROW, ROWS, Row, write_recipe, write_rows

OBJECTIVES = {"messages": "sft", "preferences": "dpo", "labelled": "kto"}
ALTERNATE = (
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}{% endfor %}"
)


SAID = {"role": "assistant", "content": "total"}


def talk(*roles: str) -> Row:
    return {"messages": [{"role": role, "content": f"total {role}"} for role in roles]}


def answered(chosen: str, rejected: str) -> Row:
    return {"prompt": "Box?", "chosen": chosen, "rejected": rejected}


class Case:
    """A recipe with a good corpus, in which one row is another, or a template or a key of the recipe."""

    def __init__(self, folder: Path, source: str, row: Row | None = None, template: str = "", **changes: Any) -> None:
        model = write_chat_model(folder / "model", template + CHATML, eos_token="<|im_end|>")
        changes = {"fine_tuning__objective": OBJECTIVES[source], **changes}
        self.path = write_recipe(folder, OBJECTIVES[source], source, model, **changes)
        rows = [ROW[source](number) for number in range(ROWS)]
        write_rows(folder / "data", rows if row is None else [*rows[:5], row, *rows[6:]])
        self.folder = folder

    def stopped(self) -> tuple[str, int, str]:
        """The step that ends, its exit code and what it says."""
        steps = Steps(self.path, self.folder / "steps")
        try:
            dataset = steps.call("data_validation", ["dataset", "validation"])["dataset"]
        except SystemExit:
            step = "data_validation"
        else:
            step = "preprocessing"
            steps.fails(step, ["corpus"], dataset=dataset)
        problem = steps.record(step).problem
        assert problem is not None
        return step, problem.exit_code, problem.message


# Part of data, one row of it, and what is said of row 3 in the second file.
ROWS_OF: dict[str, tuple[str, Row, str]] = {
    "an unknown role": ("messages", talk("user", "bot"), "messages: turn 2 has the unknown role 'bot'"),
    "a result without a call": (
        "messages",
        {"messages": [*talk("user")["messages"], {"role": "tool", "content": "3", "tool_call_id": "c1"}, SAID]},
        "messages: turn 2 is a tool result without a call 'c1'",
    ),
    "no assistant turn": ("messages", talk("system", "user"), "messages: there is no assistant turn to learn"),
    "an empty chosen answer": ("preferences", answered("", "b"), "chosen is empty"),
    "a label that is none": (
        "labelled",
        {"prompt": "Box?", "completion": "a", "label": None},
        "label is missing or null",
    ),
}


@pytest.mark.parametrize("mistake", ROWS_OF)
def test_a_bad_row_is_named_with_its_file_and_the_key(mistake: str, tmp_path: Path) -> None:
    source, row, said = ROWS_OF[mistake]
    step, code, message = Case(tmp_path, source, row).stopped()
    assert (step, code) == ("data_validation", 2) and "\n" not in message
    assert f"{tmp_path}/data/part-01.jsonl: row 3: {said}" in message
    assert f"correct the data or preprocessing.pairs.from, now {source}, or leave such rows out" in message


def test_turns_in_an_order_that_the_template_forbids_are_named(tmp_path: Path) -> None:
    step, code, message = Case(tmp_path, "messages", talk("user", "user", "assistant"), ALTERNATE).stopped()
    assert (step, code) == ("preprocessing", 2) and "\n" not in message
    assert "preprocessing.pairs.framing: chat: " in message
    assert "fails: roles must alternate, at part-01.jsonl row 3, with the prompt 'total user'" in message


def test_a_template_that_needs_what_a_row_lacks_names_the_row(tmp_path: Path) -> None:
    needs = "{% if messages[0].role == 'system' %}{{ tools[0].name }}{% endif %}"
    step, code, message = Case(tmp_path, "messages", talk("system", "user", "assistant"), needs).stopped()
    assert (step, code) == ("preprocessing", 2) and "\n" not in message
    assert "preprocessing.pairs.framing: chat: " in message
    assert "has no element 0, at part-01.jsonl row 3, with the prompt 'total user'" in message


def test_equal_answers_are_refused_by_file_and_row_where_the_recipe_says_so(tmp_path: Path) -> None:
    pairs = {"from": "preferences", "framing": "chat", "equal": "refuse"}
    case = Case(tmp_path, "preferences", answered("b", "b"), preprocessing__pairs=pairs)
    step, code, message = case.stopped()
    assert (step, code) == ("preprocessing", 2) and "\n" not in message
    assert "preprocessing.pairs.equal: refuse: part-01.jsonl row 3: chosen and rejected are equal" in message


def test_equal_answers_are_counted_and_left_out_else(tmp_path: Path) -> None:
    steps = Steps(Case(tmp_path, "preferences", answered("b", "b")).path, tmp_path / "steps")
    steps.corpus()
    assert steps.record("preprocessing").metrics["left_out_equal_answers"] == 1


TEMPLATES = {
    "needs what the data lacks": ("{{ messages[0].persona.name }}", "has no attribute 'persona'"),
    "does not end": ("{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}", "does not end"),
    "breaks out": ("{{ messages.__class__.__mro__[1].__subclasses__() }}", "access to attribute '__class__'"),
    "is none": ("{% for m in %}", "Expected an expression"),
}


@pytest.mark.parametrize("mistake", TEMPLATES)
def test_a_template_that_fails_is_named(mistake: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "STEPS", 20_000)
    template, said = TEMPLATES[mistake]
    step, code, message = Case(tmp_path, "preferences", template=template).stopped()
    assert (step, code) == ("preprocessing", 2) and "\n" not in message
    assert "preprocessing.pairs.framing: chat: " in message and said in message
    assert "with a prompt and a response alone" in message


KEYS: dict[str, tuple[str, dict[str, Any], str]] = {
    "dpo of conversations": (
        "messages",
        {"fine_tuning__objective": "dpo"},
        "fine_tuning.objective: dpo needs preprocessing.pairs.from: preferences, it is messages",
    ),
    "kto of preferences": (
        "preferences",
        {"fine_tuning__objective": "kto"},
        "fine_tuning.objective: kto needs preprocessing.pairs.from: labelled, it is preferences",
    ),
    "responses of preferences": (
        "preferences",
        {"fine_tuning__objective": "sft"},
        "preprocessing.pairs.from: preferences has no loss for fine_tuning.objective: sft; set objective to dpo or",
    ),
    "preferences without the template of a chat": (
        "preferences",
        {"preprocessing__pairs": {"from": "preferences"}},
        "preprocessing.pairs: from: preferences needs framing: chat",
    ),
}


@pytest.mark.parametrize("mistake", KEYS)
def test_pairs_that_no_objective_learns_are_refused_in_the_recipe(mistake: str, tmp_path: Path) -> None:
    source, changes, said = KEYS[mistake]
    case = Case(tmp_path, source, **changes)
    with pytest.raises(UserError) as refused:
        recipes.load(case.path, [])
    assert said in str(refused.value) and "\n" not in str(refused.value)
    assert str(case.path) in str(refused.value)
