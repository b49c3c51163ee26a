"""Images and audio as data: what is found, what is measured, what each kind of bad file says, and what is decoded."""

import os
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from modelmill.core.errors import UserError
from modelmill.corpus import media
from modelmill.corpus.media import File
from modelmill.data import media_files as files
from modelmill.data import shards
from modelmill.data.media import audio, finding, images
from modelmill.data.media.unusable import Unusable
from modelmill.demo import espeak
from tests.media import RATE, encoded, png, sound, tone, write


def rows_of(folder: Path, kind: Any = "images", corrupt: Any = "keep") -> list[dict[str, Any]]:
    return [
        row for shard in shards.find(str(folder), "auto", kind, corrupt) for row in shards.read(shard)[0].to_pylist()
    ]


# --- finding


def test_a_manifest_is_the_shard_and_not_the_files(tmp_path: Path) -> None:
    write(tmp_path / "b", {"x/1.png": png(), "2.png": png(3)})
    write(tmp_path, {"notes.txt": b"x", "3.png": png(7)}, ["3.png"], manifest="a.csv")
    found = shards.find(str(tmp_path), "auto", "images")
    assert [shard.path for shard in found] == ["a.csv", "b/a.csv"]
    assert [sorted(shard.media.files) for shard in found if shard.media] == [["3.png"], ["2.png", "x/1.png"]]
    size = sum((tmp_path / "b" / name).stat().st_size for name in ("a.csv", "x/1.png", "2.png"))
    assert found[1].bytes == size
    (alone,) = shards.find(str(tmp_path / "b" / "a.csv"), "auto", "images")
    (by_pattern,) = shards.find(f"{tmp_path}/b/*.csv", "auto", "images")
    assert alone.tag == by_pattern.tag == found[1].tag and alone.media == found[1].media


def test_any_change_of_a_file_changes_the_shard(tmp_path: Path) -> None:
    write(tmp_path, {"1.png": png(1), "2.png": png(2), "other.png": png(3)}, ["1.png", "2.png", "gone.png"])

    def tag() -> tuple[str, str]:
        found = shards.find(str(tmp_path), "auto", "images")
        return found[0].tag, shards.fingerprint(found)

    seen = [tag()]
    assert tag() == seen[0]
    (tmp_path / "other.png").write_bytes(png(4))
    assert tag() == seen[0], "the manifest does not name it"
    status = (tmp_path / "1.png").stat()
    time.sleep(0.05)  # the clock of a file system is coarse
    data = bytearray(png(1))
    data[-20] ^= 1
    (tmp_path / "1.png").write_bytes(data)
    os.utime(tmp_path / "1.png", ns=(status.st_atime_ns, status.st_mtime_ns))
    seen.append(tag())
    (tmp_path / "gone.png").write_bytes(png(5))
    seen.append(tag())
    (tmp_path / "2.png").unlink()
    seen.append(tag())
    assert len({one[0] for one in seen}) == len({one[1] for one in seen}) == 4


def test_the_digest_covers_the_bytes_of_the_files_and_only_them(tmp_path: Path) -> None:
    digests = []
    for place, value in (("one", 1), ("two", 1), ("three", 2)):
        write(tmp_path / place, {"1.png": png(value)})
        (shard,) = shards.find(str(tmp_path / place), "auto", "images")
        digests.append(shards.read(shard)[1])
    assert digests[0] == digests[1] != digests[2]
    with pytest.raises(UserError, match="changed since it was validated"):
        shards.read(shard, digests[0])


def test_finding_opens_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(write(tmp_path, {"1.png": png()}, ["1.png", "pipe.png"]) / "pipe.png")
    monkeypatch.setattr(files, "open_file", None)
    (shard,) = shards.find(str(tmp_path), "auto", "images")
    assert shard.media is not None and list(shard.media.files) == ["1.png"]


def test_a_file_that_changes_while_it_is_read_about_is_refused(tmp_path: Path) -> None:
    write(tmp_path, {"1.png": png(1)})
    (shard,) = shards.find(str(tmp_path), "auto", "images", "leave_out")
    (tmp_path / "1.png").write_bytes(png(1)[:-1] + b"!")
    os.utime(tmp_path / "1.png", ns=(1, 1))  # the clock of a file system is coarse
    with pytest.raises(UserError, match=r"1\.png: changed since it was found; run again"):
        shards.read(shard)


def test_without_a_manifest_the_data_is_refused(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(png())
    with pytest.raises(UserError, match=r"^data\.path: .*no manifest there .*column 'file' names the images"):
        shards.find(str(tmp_path), "auto", "images")


BAD_MANIFESTS = {
    "up": ("file\n../secret.png\n", r"row 1: column 'file' '\.\./secret\.png' is not a path below"),
    "up inside": ("file\n1.png\nx/../../secret.png\n", r"row 2: column 'file' 'x/\.\./\.\./secret\.png' is not"),
    "absolute": ("file\n/etc/passwd\n", r"row 1: column 'file' '/etc/passwd' is not a path below"),
    "backslash": ("file\n..\\secret.png\n", r"row 1: column 'file' .* is not a path below"),
    "null": ("file,a\n1.png,1\n,2\n", r"row 2: column 'file' is empty"),
    "number": ("file\n7\n", r"row 1: column 'file' is 7, not the name of a file"),
    "no column": ("path\n1.png\n", r"no column 'file' that names the images; its columns: path"),
    "taken": ("file,width\n1.png,3\n", r"column 'width' is what is measured of the files; rename it"),
    "broken": ("file\n1.png,2\n", r"a\.csv:2: 2 fields, the header has 1"),
}


@pytest.mark.parametrize("text, message", BAD_MANIFESTS.values(), ids=BAD_MANIFESTS)
def test_a_wrong_manifest_is_refused_when_it_is_read(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "secret.png").write_bytes(png())
    write(tmp_path / "data", {"1.png": png()})
    (tmp_path / "data" / "a.csv").write_text(text)
    (shard,) = shards.find(str(tmp_path / "data"), "auto", "images", "leave_out")
    with pytest.raises(UserError, match=message):
        shards.read(shard)


@given(
    name=st.one_of(st.text(max_size=20), st.lists(st.sampled_from(["..", ".", "", "a", "/", "x.png"])).map("/".join))
)
@settings(max_examples=300, deadline=None)
def test_no_name_leads_out_of_the_folder(name: str) -> None:
    try:
        path = files.inside(name)
    except ValueError:
        return
    assert os.path.normpath(f"/data/{path}").startswith("/data/") and os.path.normpath(path) == path


# --- measuring


def test_images_are_measured(tmp_path: Path) -> None:
    quarter = Image.fromarray(np.array([[255, 0], [0, 0]], np.uint8))
    turned = Image.new("RGB", (5, 3))
    turned.getexif()[0x0112] = 6
    shown = {"1.png": encoded(quarter), "2.png": png(255, (6, 4)), "3.png": png(0, mode="RGBA")}
    named = {**shown, "4.jpg": encoded(turned, "JPEG"), "5.webp": encoded(quarter, "WEBP")}
    rows = rows_of(write(tmp_path, named, [*named, "1.png"]))
    wanted = [(2, 2, 1, "L", 0.25), (6, 4, 3, "RGB", 1.0), (6, 4, 4, "RGBA", 0.0), (3, 5, 3, "RGB", 0.0)]
    assert [tuple(row[name] for name in images.COLUMNS) for row in rows[:4]] == wanted
    assert all(row["readable"] for row in rows) and rows[0]["sha256"] == rows[5]["sha256"] != rows[1]["sha256"]
    assert [row["bytes"] for row in rows[:3]] == [len(data) for data in shown.values()]
    assert [row["label"] for row in rows] == [0, 1, 0, 1, 0, 1]


@pytest.mark.parametrize(
    "format, subtype", [("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("WAV", "PCM_24"), ("WAV", "FLOAT")]
)
def test_recordings_are_measured(tmp_path: Path, format: str, subtype: str) -> None:
    half_silent = np.concatenate([tone(1), np.zeros(RATE)])
    clipped = np.where(np.arange(RATE) % 10 < 1, 1.0, -0.25)
    stereo = np.stack([tone(0.25), np.zeros(RATE // 4)], axis=1)
    quiet = np.concatenate([tone(0.5, 0.002), tone(0.5, 0.001)])  # -57 and -63 dBFS
    sounds = (half_silent, clipped, stereo, quiet)
    files = {f"{n}.x": sound(s, RATE, format, subtype) for n, s in enumerate(sounds)}
    rows = rows_of(write(tmp_path, files), "audio")
    assert [(r["sample_rate"], r["channels"], r["seconds"]) for r in rows] == [
        (RATE, 1, 2),
        (RATE, 1, 1),
        (RATE, 2, 0.25),
        (RATE, 1, 1),
    ]
    assert [r["peak"] for r in rows] == pytest.approx([0.5, 1, 0.5, 0.002], abs=1e-3)
    assert [r["rms"] for r in rows] == pytest.approx([0.25, np.sqrt(0.1 + 0.9 / 16), 0.25, 0.001], abs=1e-3)
    assert [r["silent"] for r in rows] == [0.5, 0, 0, 0.5]
    assert [r["clipped"] for r in rows] == [0, 0.1, 0, 0]


def test_a_long_recording_is_measured_as_a_short_one(monkeypatch: pytest.MonkeyPatch) -> None:
    data = sound(np.concatenate([tone(0.7), np.zeros(9_999), tone(0.33, 1.0)]))
    whole = audio.measure(data)
    monkeypatch.setattr(audio, "_BLOCK", 1_000)
    assert audio.measure(data) == pytest.approx(whole)


# --- files that cannot be used


def wav_header(samples: int) -> bytes:
    size = 2 * samples
    kind = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, RATE, 2 * RATE, 2, 16)
    return struct.pack("<4sI4s", b"RIFF", 36 + size, b"WAVE") + kind + struct.pack("<4sI", b"data", size)


NOISE = np.random.default_rng(0).uniform(-1, 1, 4_000)
BAD_FILES: dict[str, tuple[str, bytes | None, str]] = {
    "image missing": ("images", None, "not there"),
    "image empty": ("images", b"", r"empty \(0 bytes\)"),
    "not an image": ("images", b"hello", "broken, or none of PNG"),
    "image cut off": ("images", png(size=(64, 64))[:-30], "broken"),
    "image with a broken byte": ("images", png()[:45] + b"\xff" + png()[46:], "broken"),
    "image without its last bytes": ("images", png()[:-20], "broken"),
    "sixteen bits": ("images", encoded(Image.new("I;16", (2, 2), 700)), r"of mode I;16, with more than 8 bits"),
    "PostScript": ("images", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "broken, or none of PNG"),
    "not audio": ("audio", b"OggS" + b"\0" * 100, "not WAV, FLAC or MP3"),
    "WAV cut off": ("audio", sound(NOISE)[:4_000], r"cut off: 3,956 of 8,000 bytes of samples are there"),
    "WAV without samples": ("audio", wav_header(0), "no samples"),
    "WAV of a header's half": ("audio", wav_header(9)[:30], "broken"),
    "FLAC cut off": ("audio", sound(NOISE, format="FLAC")[:3_000], "broken|cut off"),
    "not finite": ("audio", sound(np.array([0.5, np.nan]), subtype="FLOAT"), "some samples are not finite"),
}


@pytest.mark.parametrize("kind, data, why", BAD_FILES.values(), ids=BAD_FILES)
def test_an_unusable_file_is_refused_or_left_out_by_name(
    tmp_path: Path, kind: Any, data: bytes | None, why: str
) -> None:
    good = png(size=(3, 3)) if kind == "images" else sound(tone())
    there = {"1.x": good, "bad.x": data, "2.x": good}
    write(tmp_path, {name: one for name, one in there.items() if one is not None}, [*there, "bad.x"])
    rows = rows_of(tmp_path, kind)
    assert [row["readable"] for row in rows] == [True, False, True, False]
    measured = images.COLUMNS if kind == "images" else audio.COLUMNS
    assert all(rows[1][name] is None for name in measured) and rows[1]["bytes"] == (len(data) if data else None)
    (shard,) = shards.find(str(tmp_path), "auto", kind, "refuse")
    with pytest.raises(
        UserError, match=rf"a\.csv: 1 file that it names cannot be used, the first bad\.x \(row 2\): {why}"
    ):
        shards.read(shard)
    (shard,) = shards.find(str(tmp_path), "auto", kind, "leave_out")
    stream = shards.Stream(shard)
    assert [row["file"] for piece in stream for row in piece.to_pylist()] == ["1.x", "2.x"]
    assert [(one.row, one.file) for one in stream.unusable] == [(2, "bad.x"), (4, "bad.x")]


def test_bombs_are_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    wide = encoded(Image.new("1", (10_000, 9_001)))
    with pytest.raises(Unusable, match=r"10000 x 9001 pixels, more than|more than 89,478,485 pixels"):
        images.measure(wide)
    with pytest.raises(Unusable, match=r"more than 89,478,485 pixels"):
        images.decode(encoded(Image.new("1", (20_000, 9_001))))
    silence = sound(np.zeros(100_000), format="FLAC")
    monkeypatch.setattr(audio, "MAX_SAMPLES", 99_999)
    with pytest.raises(Unusable, match=r"more than 99,999 samples"):
        audio.measure(silence)
    with pytest.raises(Unusable, match=r"at 160000 Hz more than 99,999 samples"):
        audio.decode(sound(tone(0.9)), 160_000, resample=True)
    monkeypatch.setattr(files, "MAX_BYTES", 10)
    with pytest.raises(Unusable, match=r"11 bytes, more than"):
        files.Media("images", "keep", "", 0, {"x": finding.DataFile("x", "/x", 11, "t")}).content("x")


GOOD = {
    "PNG": png(size=(9, 9)),
    "JPEG": encoded(Image.effect_noise((16, 16), 50), "JPEG"),
    "GIF": encoded(Image.effect_noise((16, 16), 50), "GIF"),
    "TIFF": encoded(Image.effect_noise((16, 16), 50), "TIFF"),
    "WEBP": encoded(Image.effect_noise((16, 16), 50), "WEBP"),
    "BMP": encoded(Image.effect_noise((16, 16), 50), "BMP"),
    "WAV": sound(NOISE[:400]),
    "FLAC": sound(NOISE[:400], format="FLAC"),
}


@given(
    kind=st.sampled_from(sorted(GOOD)),
    cut=st.floats(0, 1),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=5),
)
@settings(max_examples=400, deadline=None)
def test_broken_bytes_are_measured_or_unusable_and_nothing_else(kind: str, cut: float, changes: list[Any]) -> None:
    data = bytearray(GOOD[kind])
    for place, byte in changes:
        data[int(place * len(data))] = byte
    module: Any = audio if kind in ("WAV", "FLAC") else images
    try:
        values = module.measure(bytes(data[: max(int(cut * len(data)), 1)]))
    except Unusable as error:
        assert str(error)
        return
    assert list(values) == list(module.COLUMNS) and None not in values.values()
    numbers = [value for value in values.values() if not isinstance(value, str)]
    assert np.isfinite(numbers).all() and min(numbers) >= 0


@given(cut=st.integers(1, len(GOOD["PNG"]) - 13))  # the last 12 bytes only say that this was the end
@settings(max_examples=100, deadline=None)
def test_a_png_that_is_cut_off_is_never_taken_for_whole(cut: int) -> None:
    with pytest.raises(Unusable):
        images.measure(GOOD["PNG"][:cut])


@given(cut=st.integers(45, 44 + 799), format=st.sampled_from(["WAV", "FLAC"]))
@settings(max_examples=100, deadline=None)
def test_a_recording_that_is_cut_off_is_never_taken_for_whole(cut: int, format: str) -> None:
    whole = GOOD[format]
    with pytest.raises(Unusable):
        audio.measure(whole[: min(cut, len(whole) - 1)])


# --- decoding


def loaded(folder: Path, kind: Any, decode: Callable[..., Any], names: list[str], **how: Any) -> list[np.ndarray]:
    (shard,) = shards.find(str(folder), "auto", kind, "refuse")
    return list(decode([File(shard, name) for name in names], **how))


@given(
    pixels=st.integers(1, 9).flatmap(
        lambda n: st.lists(st.integers(0, 255), min_size=n * 6, max_size=n * 6).map(
            lambda values: np.array(values, np.uint8).reshape(n, 2, 3)
        )
    )
)
@settings(max_examples=50, deadline=None)
def test_pixels_survive_the_round_trip(pixels: np.ndarray) -> None:
    assert np.array_equal(images.decode(encoded(Image.fromarray(pixels))), pixels)


def test_images_come_in_the_order_of_their_rows(tmp_path: Path) -> None:
    write(tmp_path, {f"{n}.png": png(n, mode="RGB" if n % 2 else "L") for n in range(30)})
    names = [f"{n}.png" for n in reversed(range(30))]
    grey = loaded(tmp_path, "images", media.images, names, channels=1)
    assert [image.shape for image in grey] == [(4, 6, 1)] * 30 and grey[0].dtype == np.uint8
    assert [int(image[0, 0, 0]) for image in grey] == list(reversed(range(30)))
    assert {image.shape for image in loaded(tmp_path, "images", media.images, names)} == {(4, 6, 3)}
    (tmp_path / "3.png").write_bytes(png()[:-20])
    with pytest.raises(UserError, match=r"a\.csv: 3\.png: broken"):
        loaded(tmp_path, "images", media.images, names)


def test_recordings_are_mixed_to_one_channel_and_resampled_if_that_is_wanted(tmp_path: Path) -> None:
    stereo = np.stack([tone(), np.zeros(RATE // 2)], axis=1)
    write(
        tmp_path,
        {"1.wav": sound(tone()), "2.flac": sound(stereo, format="FLAC"), "3.wav": sound(tone(rate=8000), 8000)},
    )
    one, two = loaded(tmp_path, "audio", media.recordings, ["1.wav", "2.flac"], rate=RATE)
    assert one.dtype == two.dtype == np.float32 and one.shape == two.shape == (RATE // 2,)
    assert np.allclose(one, tone(), atol=1e-4) and np.allclose(two, tone() / 2, atol=1e-4)
    with pytest.raises(UserError, match=r"a\.csv: 3\.wav: its sample rate is 8000 Hz, not 16000 Hz"):
        loaded(tmp_path, "audio", media.recordings, ["3.wav"], rate=RATE)
    (three,) = loaded(tmp_path, "audio", media.recordings, ["3.wav"], rate=RATE, resample=True)
    assert three.dtype == np.float32 and np.allclose(three[500:-500], tone()[500:-500], atol=0.01)


# --- eSpeak NG


def test_speech_is_the_same_whatever_was_said_before_and_differs_by_voice() -> None:
    first, rate = espeak.synthesise("seven", "en-us+f1", rate=150, pitch=60)
    others = [espeak.synthesise("seven", *other)[0] for other in (("en-us+m3",), ("en-us+f1", 250), ("en-029+Alex",))]
    again, _ = espeak.synthesise("seven", "en-us+f1", rate=150, pitch=60)
    assert np.array_equal(first, again) and rate == 22_050
    assert 0.2 < len(first) / rate < 1.5 and 0.1 < np.abs(first).max() <= 1
    assert not any(len(one) == len(first) and np.allclose(one, first) for one in others)
    assert len(others[1]) < len(first)


def test_speech_with_breath_is_refused() -> None:
    with pytest.raises(ValueError, match="has breath"):
        espeak.synthesise("seven", "en-us+f3")


@pytest.mark.parametrize("voice", ["tlh", "en-us+nobody"])
def test_a_voice_that_is_not_there_is_refused(voice: str) -> None:
    with pytest.raises(ValueError, match="no such voice"):
        espeak.synthesise("seven", voice)


def test_what_is_encoded_is_what_is_decoded() -> None:
    samples = np.array([0, 0.5, -0.5, 2.0, -2.0], np.float32)
    found = audio.decode(audio.encode(samples, 8000), 8000)
    assert found == pytest.approx(np.clip(samples, -1, 1), abs=2**-15)
