import base64
import io
import json
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.metrics.gallery import save_picture
from pipeline.metrics.pictures import (
    Audio,
    Boxes,
    Heatmap,
    Images,
    Lines,
    Picture,
    Spans,
    Table,
)
from pipeline.report.encode import MAX_SIDE, heat_url
from pipeline.report.pictures import MAX_STEPS, Gallery, frame_of
from tests.report import attempt, stage, state


def _bytes(url: str) -> bytes:
    return base64.b64decode(url.partition(",")[2])


def _image(url: str) -> Any:
    return np.asarray(Image.open(io.BytesIO(_bytes(url))).convert("RGB")).astype(int)


def test_heatmap_pixels_rise_with_the_values_and_nan_is_grey() -> None:
    values = np.array([[0.0, 0.5], [1.0, np.nan]], np.float32)
    pixels = _image(heat_url(values, 0.0, 1.0))
    assert pixels[0, 0].tolist() == [68, 1, 84]  # viridis' ends
    assert pixels[1, 0].tolist() == [253, 231, 37]
    assert pixels[1, 1].tolist() == [128, 128, 128]
    lightness = pixels.sum(axis=-1)
    assert lightness[0, 0] < lightness[0, 1] < lightness[1, 0]


def test_large_heatmap_is_averaged_in_blocks() -> None:
    values = np.zeros((3, 4 * MAX_SIDE), np.float32)
    values[:, : 2 * MAX_SIDE] = 1.0
    pixels = _image(heat_url(values, 0.0, 1.0))
    assert pixels.shape == (3, MAX_SIDE, 3)
    assert pixels[0, 0].tolist() == [253, 231, 37]
    assert pixels[0, -1].tolist() == [68, 1, 84]


def test_heatmap_of_one_value_is_drawn() -> None:
    frame = frame_of(Heatmap("t", np.full((2, 3), 7.0, np.float32), ["a", "b"], list("xyz")), 1)
    assert (frame.data["low"], frame.data["high"]) == ("7", "7")
    assert json.loads(frame.data["cells"])["values"] == [7.0] * 6


def test_images_come_back_as_they_were() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (2, 8, 9, 3), dtype=np.uint8)
    shown = frame_of(Images("t", pixels, ["one", "two"]), 1).data["images"]
    assert [one["caption"] for one in shown] == ["one", "two"]
    assert _image(shown[1]["url"]).tolist() == pixels[1].tolist()


def test_audio_is_a_wav_of_the_samples() -> None:
    samples = np.array([0.0, 0.5, -1.0, 2.0, np.nan], np.float32)
    with wave.open(io.BytesIO(_bytes(frame_of(Audio("t", samples, 8000), 1).data["url"]))) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (8000, 1, 2)
        found = np.frombuffer(file.readframes(5), "<i2")
    assert found.tolist() == [0, 16383, -32767, 32767, 0]


def test_lines_are_sorted_by_x_and_holes_are_null() -> None:
    lines = Lines("t", "x", "y", [3, 1, 2], {"a": [30.0, 10.0, float("nan")]})
    chart = json.loads(frame_of(lines, 1).data["chart"])
    assert chart["x"] == [1, 2, 3]
    assert chart["ys"] == {"a": [10.0, None, 30.0]}


def test_boxes_are_placed_and_coloured_by_their_first_word() -> None:
    image = np.zeros((10, 20, 3), np.uint8)
    corners = np.array([[1, 2, 5, 9], [0, 0, 3, 3], [np.inf, 0, 1, 1]], np.float32)
    data = frame_of(Boxes("t", image, corners, ["cat 0.9", "cat 0.5", "dog"]), 1).data
    first, second = data["boxes"]
    assert (first["x"], first["y"], first["width"], first["height"]) == (1, 2, 4, 7)
    assert first["colour"] == second["colour"]


def test_spans_have_the_colours_that_their_labels_mean() -> None:
    words = ["right", "x", "wrong", "near", "y"]
    legend = dict(frame_of(Spans("t", words, words), 1).data["legend"])
    assert (legend["right"], legend["near"], legend["wrong"]) == (2, 6, 7)
    assert len(set(legend.values())) == 5
    plain = dict(frame_of(Spans("t", list("abcdefgh"), list("abcdefgh")), 1).data["legend"])
    assert sorted(plain.values()) == list(range(8))


IMAGE = np.zeros((2, 2, 3), np.uint8)
WRONG: list[Picture] = [
    Heatmap("t", np.zeros((2, 2), np.float32), ["a"], ["x", "y"]),
    Heatmap("t", np.zeros((0, 0), np.float32), [], []),
    Lines("t", "x", "y", [1, 2], {"a": [1.0]}),
    Images("t", IMAGE, ["one"]),
    Images("t", IMAGE[None], []),
    Boxes("t", IMAGE, np.zeros((1, 4), np.float32), []),
    Boxes("t", np.zeros((2, 2, 4), np.uint8), np.zeros((0, 4), np.float32), []),
    Spans("t", ["a"], []),
    Audio("t", np.zeros((2, 2), np.float32), 8000),
    Audio("t", np.zeros(2, np.float32), 0),
]


@pytest.mark.parametrize("picture", WRONG)
def test_picture_of_wrong_shapes_is_refused(picture: Picture) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        frame_of(picture, 1)


def test_gallery_keeps_some_steps_and_notes_what_it_cannot_read(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    for step in range(30):
        save_picture(folder, Table("same", ["a"], [[step]]), step)
    (folder / "zz.npz").write_bytes(b"PK no zip at all")
    np.savez(folder / "zzz.npz", text=np.array([{"a": 1}], object))
    save_picture(folder, WRONG[0], 5)
    run = state(stage("s", attempts=[attempt(0, 1, folder=str(tmp_path))]))
    gallery = Gallery()
    ((album,), notes) = gallery.albums(run)
    assert album.num_steps == 30
    steps = [frame.step for frame in album.frames]
    assert len(steps) == MAX_STEPS
    assert (steps[0], steps[-1]) == (0, 29)
    assert len(notes) == 3
    assert all(note.text.startswith("picture ") for note in notes)
    assert gallery.albums(run)[0] == [album]


def test_gallery_of_a_step_done_again_shows_the_later_attempt(tmp_path: Path) -> None:
    for number in (1, 2):
        save_picture(tmp_path / str(number) / "pictures", Table("t", ["a"], [[number]]), 7)
    attempts = [attempt(n, n + 1, number=n, folder=str(tmp_path / str(n))) for n in (1, 2)]
    ((album,), _) = Gallery().albums(state(stage("s", attempts=attempts)))
    assert [frame.data["rows"] for frame in album.frames] == [[[2]]]
