"""Samples from files and named sets: what is read, and what each kind of bad data is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from snn2hw.data.load import load_samples
from snn2hw.data.samples import Samples, check_labels, make_samples, right_answers
from snn2hw.errors import DataError

SHAPE = (1, 4, 4)
IMAGES = np.arange(3 * 16, dtype=np.float32).reshape(3, *SHAPE)


def saved(folder: Path, **arrays: Any) -> str:
    path = folder / "data.npz"
    np.savez(path, **arrays)
    return str(path)


def images_with(value: float) -> np.ndarray:
    x = IMAGES.astype(np.float64)
    x[1, 0, 2, 3] = value
    return x


def test_static_samples_show_every_step_the_same(tmp_path: Path) -> None:
    samples = load_samples(saved(tmp_path, x=IMAGES, y=np.array([0, 2, 1])), SHAPE)
    assert not samples.per_step and len(samples) == 3 and samples.shape == SHAPE
    steps = samples.steps(5)
    assert steps.shape == (5, 3, *SHAPE) and steps.dtype == np.float32
    assert all(np.array_equal(step, IMAGES) for step in steps)
    assert samples.y is not None and samples.y.tolist() == [0, 2, 1]


def test_samples_with_a_frame_a_step_keep_their_frames(tmp_path: Path) -> None:
    frames = np.stack([IMAGES, IMAGES + 100], axis=1)
    samples = load_samples(saved(tmp_path, x=frames), SHAPE)
    assert samples.per_step and samples.shape == SHAPE and samples.y is None
    assert np.array_equal(samples.steps(2)[1], IMAGES + 100)
    assert np.array_equal(samples[1:2].steps(2)[:, 0], frames[1])


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float64, np.float16, np.bool_])
def test_every_type_of_number_is_read_as_float32(tmp_path: Path, dtype: Any) -> None:
    samples = load_samples(saved(tmp_path, x=IMAGES.astype(dtype)), SHAPE)
    assert samples.x.dtype == np.float32 and np.array_equal(samples.x, IMAGES.astype(dtype))


def test_a_part_of_the_samples_keeps_its_labels() -> None:
    samples = make_samples(IMAGES, np.array([4, 5, 6]), SHAPE, name="mine")[1:]
    assert samples.y is not None and samples.y.tolist() == [5, 6] and np.array_equal(samples.x, IMAGES[1:])


def test_the_named_set_has_two_different_parts() -> None:
    test, train = (load_samples("digits", (1, 8, 8), split=split) for split in ("test", "train"))
    assert test.y is not None and train.y is not None and len(test) < len(train)
    assert not {x.tobytes() for x in test.x} & {x.tobytes() for x in train.x}


BAD_ARRAYS: dict[str, tuple[dict[str, Any], str]] = {
    "no x": ({"images": IMAGES}, "no array `x`"),
    "a shape that does not fit": ({"x": IMAGES[:, :, 1:]}, r"x has shape \[3, 1, 3, 4\], but the model takes"),
    "too few dimensions": ({"x": IMAGES[0]}, r"x has shape \[1, 4, 4\]"),
    "too many dimensions": ({"x": IMAGES[None, None]}, r"x has shape \[1, 1, 3, 1, 4, 4\]"),
    "one number": ({"x": np.float32(1)}, r"x has shape \[\]"),
    "text": ({"x": np.full((3, *SHAPE), "a")}, "x has type <U1; numbers are needed"),
    "complex numbers": ({"x": IMAGES * 1j}, "x has type complex"),
    "pickled objects": ({"x": np.array([object()])}, "not a readable .npz file of plain arrays"),
    "no samples": ({"x": IMAGES[:0]}, r"x is empty \(\[0, 1, 4, 4\]\)"),
    "no steps": ({"x": IMAGES[:, None][:, :0]}, "x is empty"),
    "NaN": ({"x": images_with(np.nan)}, r"1 values that are NaN, infinite or too large.*, the first at \[1, 0, 2, 3\]"),
    "infinity": ({"x": images_with(-np.inf)}, r"too large for float32, the first at \[1, 0, 2, 3\]"),
    "numbers beyond float32": ({"x": images_with(1e300)}, r"too large for float32, the first at \[1, 0, 2, 3\]"),
    "too few labels": ({"x": IMAGES, "y": np.zeros(2, int)}, r"y has shape \[2\], but x holds 3 samples"),
    "one-hot labels": ({"x": IMAGES, "y": np.eye(3, dtype=int)}, r"y has shape \[3, 3\]"),
    "labels with fractions": ({"x": IMAGES, "y": np.zeros(3)}, "y has type float64; labels are whole numbers"),
    "negative labels": ({"x": IMAGES, "y": np.array([0, -2, 1])}, "label -2 of sample 1 is negative"),
}


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_bad_arrays_are_refused(tmp_path: Path, case: str) -> None:
    arrays, message = BAD_ARRAYS[case]
    source = saved(tmp_path, **arrays)
    with pytest.raises(DataError, match=message) as raised:
        load_samples(source, SHAPE)
    assert str(raised.value).startswith(source)


def test_a_missing_file_is_told_with_the_sets_that_exist(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no such file, and no data set of that name \(known: .*digits"):
        load_samples(str(tmp_path / "none.npz"), SHAPE)


def test_a_single_array_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    np.save(path, IMAGES)
    with pytest.raises(DataError, match=r"a single array. Save it with np.savez"):
        load_samples(str(path), SHAPE)


def test_files_of_another_kind_are_refused(tmp_path: Path) -> None:
    for name, content in {
        "empty": b"",
        "text": b"1,2,3\n",
        "noise": bytes(range(256)),
        "pickle": b"\x80\x04N.",
    }.items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"not a readable .npz"):
            load_samples(str(path), SHAPE)
    with pytest.raises(DataError, match=r"not a readable .npz"):
        load_samples(str(tmp_path), SHAPE)


def test_damage_anywhere_in_a_file_is_a_data_error_or_harmless(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez_compressed(path, x=np.random.default_rng(0).random((3, *SHAPE), dtype=np.float32))
    good, refused = path.read_bytes(), 0
    for at in range(len(good)):
        for damaged in (good[:at], good[:at] + bytes([good[at] ^ (1 << at % 8)]) + good[at + 1 :]):
            path.write_bytes(damaged)
            try:
                load_samples(str(path), SHAPE)
            except DataError:
                refused += 1
    assert refused > 1.5 * len(good)  # every truncation, and most of the flipped bits


def test_samples_of_another_number_of_steps_are_refused() -> None:
    samples = Samples(np.zeros((3, 2, *SHAPE), np.float32), None, True, "mine")
    with pytest.raises(DataError, match="mine: x holds 2 time steps, but 4 are asked for"):
        samples.steps(4)


def test_samples_of_another_shape_are_refused() -> None:
    samples = Samples(IMAGES, None, False, "mine")
    samples.check_shape(SHAPE)
    with pytest.raises(DataError, match=r"mine: .* has shape \[1, 4, 4\], but the model takes \[4, 4\]"):
        samples.check_shape((4, 4))


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ((3, 2, 9), (3, 2, 1, 9)),
        ((3, 4, 2, 9), (3, 4, 2, 1, 9)),
        ((3, 2, 1, 9), (3, 2, 1, 9)),
        ((3, 4, 2, 1, 9), (3, 4, 2, 1, 9)),
    ],
)
def test_signals_are_images_of_height_1(given: tuple[int, ...], taken: tuple[int, ...]) -> None:
    x = np.arange(np.prod(given), dtype=np.float32).reshape(given)
    samples = make_samples(x, None, (2, 1, 9), name="signals")
    assert samples.x.shape == taken and samples.per_step == (len(taken) == 5)
    assert np.array_equal(samples.x.ravel(), x.ravel())


def test_signals_of_another_length_are_refused() -> None:
    with pytest.raises(DataError, match=r"x has shape \[3, 2, 8\], but the model takes \[2, 1, 9\]"):
        make_samples(np.zeros((3, 2, 8)), None, (2, 1, 9), name="signals")


def test_labels_beyond_the_classes_are_refused() -> None:
    samples = make_samples(IMAGES, np.array([0, 2, 5]), SHAPE, name="mine")
    check_labels(samples, 6)
    check_labels(make_samples(IMAGES, None, SHAPE, name="mine"), 1)
    with pytest.raises(DataError, match="mine: label 5 of sample 2 is out of range; the model has 5 classes"):
        check_labels(samples, 5)


def test_labels_are_compared_with_one_number_a_class_only() -> None:
    samples = make_samples(IMAGES, np.array([0, 2, 1]), SHAPE, name="mine")
    for output in ((3,), (3, 1, 1)):
        check_labels(samples, 3, output)
    with pytest.raises(DataError, match=r"mine: it has labels, but the model gives a map \[3, 2, 2\]"):
        check_labels(samples, 3, (3, 2, 2))


@pytest.mark.parametrize("shape", [(3, 4), (3, 4, 1, 1)])
def test_an_answer_is_the_class_of_the_largest_score(shape: tuple[int, ...]) -> None:
    scores = np.array([[0, 5, 1, 2], [7, 7, 0, 0], [1, 2, 3, 4]]).reshape(shape)
    assert right_answers(scores, np.array([1, 1, 3])).tolist() == [True, False, True]
