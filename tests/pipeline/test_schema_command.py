"""`modelmill schema` gives editors what they check recipes by."""

import json
from pathlib import Path

from tests import cli


def test_the_command_prints_or_writes_the_schema_of_all_tasks_or_of_one(tmp_path: Path) -> None:
    one = cli.modelmill("schema", "translation")
    assert json.loads(one.stdout)["properties"]["task"]["enum"] == ["translation"]
    written = cli.modelmill("schema", "-o", str(tmp_path / "schema.json"), "--json")
    assert json.loads(written.stdout)["bytes"] == (tmp_path / "schema.json").stat().st_size
    assert (tmp_path / "schema.json").read_text() == (cli.ROOT / "recipes" / "schema.json").read_text()
    unknown = cli.modelmill("schema", "translations")
    assert unknown.returncode == 2
    assert unknown.stderr == "modelmill: translations: no such task; did you mean 'translation'?\n"
