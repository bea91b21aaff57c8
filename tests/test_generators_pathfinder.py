import functools
import io
import sys

import numpy as np
import pytest

pytest.importorskip("PIL", reason="Pathfinder is drawn by Pillow, which is not installed")
pytestmark = pytest.mark.backend_free

# Length, distance of the first paddles and share of 90 degrees a contour may turn at a
# paddle, of the papers' settings.
SIZES = {32: (2, 7, 1.0), 64: (5, 12, 1.8), 128: (5, 20, 1.8), 256: (5, 27, 1.8)}


@functools.cache
def scenes(size, contour_length, count):
    from keras_ssm.datasets.generators import pathfinder

    return [pathfinder.scene(index, size, contour_length, seed=1) for index in range(count)]


# Hard images of 64 and 128 pixels take long to draw.
CASES = [
    (32, 6, 40),
    (32, 9, 20),
    (32, 14, 20),
    (64, 6, 20),
    (64, 14, 2),
    (128, 9, 5),
    (256, 14, 5),
]


@pytest.mark.parametrize(("size", "contour_length", "count"), CASES)
def test_contours(size, contour_length, count):
    length, distance, continuity = SIZES[size]
    for scene in scenes(size, contour_length, count):
        step = length + 2 * scene.margin
        first, second = scene.contours
        assert first.shape == second.shape == (contour_length, 2)
        # Rounding moves the second start by up to half a pixel.
        assert np.hypot(*(first[0] - second[0])) == pytest.approx(distance, abs=0.75)
        assert np.all(np.abs(first[0] - (size - 1) / 2) < size / 2 - 2 * distance + length)
        assert {len(snake) for snake in scene.distractors} <= {contour_length // 3}
        for snake in (first, second, *scene.distractors):
            assert snake.min() >= 0
            assert snake.max() < size
            ways = np.diff(snake[1:], axis=0)
            # From end to end: a paddle with its gap, up to rounding, less where it turns.
            lengths = np.hypot(*ways.T)
            assert np.all(lengths <= step + 2.5)
            assert np.all(lengths >= step / np.sqrt(2) - 2.5)
            if continuity > 1 and len(ways) > 1:
                angles = np.arctan2(*ways.T)
                turns = np.abs((np.diff(angles) + np.pi) % (2 * np.pi) - np.pi)
                # Two turns of at most 90 / 1.8 degrees share one of these, and rounding.
                assert np.rad2deg(turns).max() < 90 / continuity + 30


@pytest.mark.parametrize(("size", "contour_length", "count"), CASES)
def test_contours_keep_apart(size, contour_length, count):
    fewest = {6: 0.8, 9: 0.8, 14: 0.6}[contour_length]
    wanted = {32: 20, 64: 22, 128: 35, 256: 30}[size] // (contour_length // 3)
    found = [len(scene.distractors) for scene in scenes(size, contour_length, count)]
    assert max(found) <= wanted
    assert np.mean(found) >= fewest * wanted
    for scene in scenes(size, contour_length, count):
        taken = np.concatenate(scene.contours)
        for snake in scene.distractors:
            # The end of a paddle keeps its margin, and others have theirs.
            gaps = np.hypot(*(snake[1:, None] - taken).transpose(2, 0, 1))
            if len(gaps):
                assert gaps.min() > scene.margin
            taken = np.concatenate([taken, snake])


@pytest.mark.parametrize(("size", "contour_length", "count"), CASES)
def test_markers_are_at_the_ends_the_label_says(size, contour_length, count):
    from keras_ssm.datasets.generators import pathfinder

    for scene in scenes(size, contour_length, count):
        start, end = scene.markers.tolist()
        starts = [contour[0].tolist() for contour in scene.contours]
        ends = [contour[-1].tolist() for contour in scene.contours]
        assert start in starts
        assert end in ends
        assert scene.label == (starts.index(start) == ends.index(end))
        # A disc: as bright as the marker all over, whatever is below.
        setting = pathfinder.SETTINGS[size]
        brightest = max(1, setting.brightness, setting.distractor_brightness)
        y, x = np.ogrid[:size, :size]
        for marker in (start, end):
            disc = np.hypot(y - marker[0], x - marker[1]) <= setting.marker_radius - 1
            assert disc.any()
            assert scene.image[disc].min() >= 0.8 * 255 / brightest


@pytest.mark.parametrize(("size", "contour_length", "count"), CASES)
def test_images_are_dark_with_thin_dashes_from_0_to_255(size, contour_length, count):
    for scene in scenes(size, contour_length, count):
        assert scene.image.dtype == np.uint8
        assert scene.image.shape == (size, size)
        assert (scene.image.min(), scene.image.max()) == (0, 255)
        assert 0.005 < (scene.image > 20).mean() < 0.35
        # There is something where a paddle ends, and next to nothing far from all.
        for point in np.concatenate(scene.contours):
            y, x = np.maximum(point - 1, 0)
            assert scene.image[y : y + 3, x : x + 3].max() > 40
        grid = np.stack(np.mgrid[:size, :size], axis=-1)
        points = np.concatenate([*scene.contours, *scene.distractors])
        distances = np.min([np.hypot(*(grid - point).transpose(2, 0, 1)) for point in points], 0)
        reach = SIZES[size][0] + 2 * scene.margin + 4
        assert scene.image[distances > reach].max(initial=0) < 20


def test_what_is_brightest():
    # By the published contrasts markers are the brightest, but at 32 pixels short contours are.
    for size, contour_length, count in ((32, 6, 40), (64, 6, 20), (256, 14, 5)):
        examples = scenes(size, contour_length, count)
        values = np.array([scene.image[tuple(scene.markers.T)] for scene in examples])
        assert np.all(values < 245) if size == 32 else np.all(values >= 245)
        assert values.min() > 200


def test_labels_are_balanced_and_contours_do_not_know_them():
    examples = scenes(32, 6, 400)
    labels = np.array([scene.label for scene in examples])
    # Four standard deviations.
    assert labels.mean() == pytest.approx(0.5, abs=0.1)
    firsts = [scene.markers[0].tolist() == scene.contours[0][0].tolist() for scene in examples]
    assert np.mean(firsts) == pytest.approx(0.5, abs=0.1)
    brightness = np.array([scene.image.mean() for scene in examples])
    difference = brightness[labels == 1].mean() - brightness[labels == 0].mean()
    assert abs(difference) < 4 * brightness.std() * 2 / np.sqrt(400)


def test_both_margins_of_128_pixels_occur():
    assert {scene.margin for scene in scenes(128, 6, 16)} == {2, 3}


def test_the_next_paddle_is_drawn_as_published():
    """In an empty image: one candidate per pixel of the circle, cos^2 of the turn."""
    from keras_ssm.datasets.generators import paddles, pathfinder, snakes

    table = paddles.geometry(pathfinder.SETTINGS[64], margin=1)
    direction = int(np.flatnonzero(paddles.DEGREES == 30)[0])
    expected = {}
    radius = 5 + 1
    for number in range(int(np.ceil(2 * np.pi * radius))):
        angle = number / radius
        end = int(np.floor(radius * np.sin(angle))), int(np.floor(radius * np.cos(angle)))
        turn = abs(np.arctan2(*end) - np.pi / 6)
        turn = min(turn, 2 * np.pi - turn)
        expected[end] = np.cos(min(1.8 * turn, np.pi / 2)) ** 2
    count = 20_000
    place = (32 + table.frame) * table.width + 32 + table.frame
    ends = snakes._next_end(
        np.random.RandomState(0),
        table,
        table.border[None],
        np.zeros(count, dtype=int),
        np.full(count, place),
        np.full(count, direction),
    )
    pixels = np.stack(np.divmod(place + table.ends[ends], table.width), axis=-1)
    pixels -= 32 + table.frame
    found = {tuple(pixel): 0 for pixel in pixels.tolist()}
    for pixel in map(tuple, pixels.tolist()):
        found[pixel] += 1
    total = sum(expected.values())
    for end, weight in expected.items():
        mean = count * weight / total
        assert abs(found.pop(end, 0) - mean) <= 4.5 * np.sqrt(mean) + 1e-9, end
    assert not found


def test_a_paddle_does_not_jump_over_another():
    from keras_ssm.datasets.generators import paddles, pathfinder, snakes

    table = paddles.geometry(pathfinder.SETTINGS[64], margin=1)
    forwards = int(np.flatnonzero(paddles.DEGREES == 0)[0])
    middle = 32 + table.frame
    place = middle * table.width + middle

    def ends(mask):
        rows = np.zeros(100, dtype=int)
        arguments = np.full(100, place), np.full(100, forwards)
        return snakes._next_end(np.random.RandomState(0), table, mask[None], rows, *arguments)

    assert np.all(ends(table.border) >= 0)
    # A wall one pixel thick: there is free space behind it.
    wall = table.border.reshape(table.width, table.width).copy()
    wall[:, middle + 2] = 1
    assert np.all(ends(wall.reshape(-1)) == -1)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    from keras_ssm.datasets.generators import pathfinder

    folder = tmp_path_factory.mktemp("written")
    pathfinder.BATCH, batch = 5, pathfinder.BATCH
    try:
        return pathfinder.generate(folder, 12, contour_length=9, seed=2, workers=1)
    finally:
        pathfinder.BATCH = batch


def test_the_files_are_laid_out_as_the_official_ones(written):
    from PIL import Image

    from keras_ssm.datasets.generators import pathfinder

    assert written.parts[-2:] == ("pathfinder32", "curv_contour_length_9")
    images, labels = pathfinder.samples(12, contour_length=9, seed=2)
    assert (images.dtype, images.shape, labels.dtype) == ("uint8", (12, 32, 32), "int32")
    lines = []
    for batch, count in enumerate((5, 5, 2)):
        # Plain text, whatever the suffix says.
        text = (written / "metadata" / f"{batch}.npy").read_text()
        assert text.endswith("\n")
        assert text.count("\n") == count
        lines += text.splitlines()
    assert len(list(written.rglob("*.png"))) == 12
    for index, line in enumerate(lines):
        fields = line.split(" ")
        assert fields[:2] == [f"imgs/{index // 5}", f"sample_{index % 5}.png"]
        assert fields[2:4] == [str(index % 5), str(labels[index])]
        assert fields[4:] == ["1.0", "9", "3", "2", "0.5", "1", "1"]
        with Image.open(written / fields[0] / fields[1]) as image:
            assert image.mode == "L"
            np.testing.assert_array_equal(np.asarray(image), images[index])


def test_the_number_of_processes_changes_nothing(tmp_path):
    from PIL import Image

    from keras_ssm.datasets.generators import pathfinder

    path = pathfinder.generate(tmp_path, 6, contour_length=6, seed=3, workers=2)
    images, _ = pathfinder.samples(6, contour_length=6, seed=3)
    for index, image in enumerate(images):
        content = (path / "imgs" / "0" / f"sample_{index}.png").read_bytes()
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(content))), image)
    other, _ = pathfinder.samples(6, contour_length=6, seed=4)
    assert not any(np.array_equal(*pair) for pair in zip(images, other, strict=True))


def test_wrong_settings(written, tmp_path, monkeypatch):
    from keras_ssm.datasets.generators import paddles, pathfinder

    with pytest.raises(ValueError, match="Received: size=48, contour_length=14"):
        pathfinder.generate(tmp_path, 1, size=48)
    with pytest.raises(ValueError, match="Received: size=32, contour_length=7"):
        pathfinder.samples(1, contour_length=7)
    for wrong in ({"count": 0}, {"count": 2.5}, {"count": True}, {"count": 1, "seed": "a"}):
        with pytest.raises(ValueError, match=r"Received: (count|seed)="):
            pathfinder.generate(tmp_path, **wrong)
    with pytest.raises(ValueError, match="nothing is overwritten"):
        pathfinder.generate(written.parents[1], 1, contour_length=9)
    assert len(list(written.rglob("*.png"))) == 12
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match=r'pip install "keras-ssm\[data\]"'):
        paddles.marker(1.5)
    with pytest.raises(ImportError, match=r'pip install "keras-ssm\[data\]"'):
        pathfinder.generate(tmp_path, 1, workers=1)
    assert not list(tmp_path.rglob("*.png"))
