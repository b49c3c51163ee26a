"""The sandbox of chat templates: no template runs for ever or gets out, and the others are rendered as ever."""

import pytest
from transformers.utils import chat_template_utils

from modelmill.corpus.text import sandbox
from tests.chat_families import TURNS

MESSAGES = [{"role": "user", "content": "Hello."}]
LOOPS = {
    "wide filter": "{{ 'a' | center(1000000000) }}",
    "nested loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "a macro that calls itself twice": "{% macro m(n) %}{% if n %}{{ m(n - 1) ~ m(n - 1) }}{% endif %}{% endmacro %}"
    "{{ m(99) }}",
    "a macro that calls itself for ever": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "a text that doubles": "{% set n = namespace(t='ab') %}{% for a in range(99) %}"
    "{% set n.t = n.t ~ n.t %}{% endfor %}",
    "a text that is added to itself": "{% set n = namespace(t='ab') %}{% for a in range(99) %}"
    "{% set n.t = n.t + n.t %}{% endfor %}",
    "a long text": "{{ 'a' * 10 ** 10 }}",
    "a wide text": "{{ '%9999999999d' % 1 }}",
    "a large number": "{{ 9 ** (9 ** 9) }}",
    "a long list": "{{ (range(99999) | list) * 99999 }}",
}
ESCAPES = {
    "a class": "{{ messages.__class__.__mro__[1].__subclasses__() }}",
    "a class by name": "{{ messages['__class__']['__mro__'] }}",
    "a class through a filter": "{{ (messages | attr('__class__')).__mro__ }}",
    "a class through a format": "{{ '{0.__class__.__mro__}'.format(messages) }}",
    "globals of a macro": "{% macro m() %}{% endmacro %}{{ m.__init__.__globals__ }}",
    "a change of the data": "{{ messages.append(1) }}",
}


@pytest.mark.parametrize("mistake", [*LOOPS, *ESCAPES])
def test_a_template_that_does_not_end_or_breaks_out_is_refused(mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "STEPS", 20_000)
    template = {**LOOPS, **ESCAPES}[mistake] + TURNS["smollm2"].template
    program = sandbox.Program(template, str)
    with pytest.raises(Exception, match=r"more than|power|width|recursion|unsafe|callable|no attribute"):
        program.render({"messages": MESSAGES})


def test_the_limit_of_time_counts_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "SECONDS", 0.0)
    with pytest.raises(sandbox.LimitError, match="does not end within"):
        sandbox.Program("{% for a in range(99999) %}{% endfor %}", str).render({})


def test_loops_are_those_of_jinja2() -> None:
    source = (
        "{% for a in rows if a > 1 recursive %}{{ loop.index }}/{{ loop.length }} {{ loop.last }} {{ loop.previtem }}"
        "{{ loop([2, 3]) if a > 8 }}{% if a == 5 %}{% break %}{% endif %}{% else %}none{% endfor %}"
        "{% for a in [] %}{% else %}empty{% endfor %}{% for a in missing %}x{% endfor %}{{ 'a' ~ 1 ~ 'b' }}"
    )
    theirs, _ = chat_template_utils.render_jinja_template([[]], chat_template=source, rows=[0, 2, 9, 4, 5, 7])
    assert sandbox.Program(source, str).render({"messages": [], "rows": [0, 2, 9, 4, 5, 7]})[0] == theirs[0]
