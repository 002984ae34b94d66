"""Event sets in folders: splits, labels, order, what is missing, and commands that read them."""

from __future__ import annotations

import math
import pickle
import shutil
from pathlib import Path

import cli
import numpy as np
import pytest
import torch
from conftest import tiny_config, tiny_model
from event_files import CIFAR10, events, write_cache, write_cifar10, write_gestures, write_n_mnist

from snn2hw.data.events.folders import EVENT_SETS
from snn2hw.data.events.frames import By, make_frames
from snn2hw.data.events.readers import Events
from snn2hw.data.folders import FolderDataset, without_corrupt
from snn2hw.data.load import load_samples
from snn2hw.data.named import Dataset
from snn2hw.data.sources import open_samples
from snn2hw.errors import CorruptFile, DataError, OptionError
from snn2hw.models.checkpoint import save_checkpoint
from snn2hw.training.recipes import Recipe
from snn2hw.training.trainer import Trainer, accuracy

T = 3
Samples = list[tuple[int, Events]]


def opened(source: str, split: str = "train") -> FolderDataset:
    dataset = open_samples(source, split, T)  # type: ignore[arg-type]
    assert isinstance(dataset, FolderDataset)
    return dataset


def content(data: FolderDataset) -> list[tuple[int, bytes]]:
    """Every sample's label and frames, sorted: the order of the set aside."""
    x, y = data.batch(torch.arange(len(data)))
    assert x.dtype == torch.float32 and x.shape == (len(data), T, 2, *data.shape[1:])
    assert torch.equal(y, data.y) and y.dtype == torch.int64
    return sorted((int(label), frames.numpy().tobytes()) for label, frames in zip(y, x, strict=True))


def expected(samples: Samples, size: int = 128, by: By = "count") -> list[tuple[int, bytes]]:
    return sorted((label, make_frames(one, T, (size, size), by).tobytes()) for label, one in samples)


# What is read


@pytest.mark.parametrize("place", ["", "DvsGesture", "extract/DvsGesture"])
def test_dvs128_gesture_is_split_by_its_trials_and_cut_by_its_labels(tmp_path: Path, place: str) -> None:
    recordings = write_gestures(tmp_path / place)
    train, test = (opened(f"dvs128-gesture:{tmp_path}", split) for split in ("train", "test"))
    assert (len(train), len(test)) == (8, 4)
    assert content(train) == expected(recordings["train"]) and content(test) == expected(recordings["test"])
    assert sorted(test.y.tolist()) == [0, 2, 2, 10]
    assert train.shape == (2, 128, 128) and train.timesteps == T


def test_events_are_shared_by_time_on_demand(tmp_path: Path) -> None:
    recordings = write_gestures(tmp_path)
    by_time = content(opened(f"dvs128-gesture,by=time:{tmp_path}", "test"))
    assert by_time == expected(recordings["test"], by="time") != expected(recordings["test"])


def test_cifar10_dvs_trains_on_the_first_nine_tenths_of_each_class(tmp_path: Path) -> None:
    recordings = write_cifar10(tmp_path / "extract", each=12)
    order = sorted(range(12), key=str)  # cifar10_bird_10.aedat comes before cifar10_bird_2.aedat
    first = math.ceil(12 * 0.9)
    source = f"cifar10-dvs,incomplete=yes:{tmp_path}"
    for split, numbers in (("train", order[:first]), ("test", order[first:])):
        samples = [(label, recordings[name][number]) for label, name in enumerate(CIFAR10) for number in numbers]
        assert content(opened(source, split)) == expected(samples)


def test_n_mnist_has_its_own_split(tmp_path: Path) -> None:
    recordings = write_n_mnist(tmp_path)
    (tmp_path / "Test" / "0" / "._00000.bin").write_bytes(b"what macOS puts beside files")
    for split in ("train", "test"):
        samples = [(digit, one) for digit, recorded in enumerate(recordings[split]) for one in recorded]
        assert content(opened(f"n-mnist,incomplete=yes:{tmp_path}", split)) == expected(samples, 34)


def test_spikingjellys_caches_give_the_frames_of_the_published_files(tmp_path: Path) -> None:
    recordings = write_gestures(tmp_path / "published")
    root = tmp_path / "cached"
    for split, samples in recordings.items():
        write_cache(root / "events_np" / split, [str(label) for label, _ in samples], [one for _, one in samples])
    source = f"dvs128-gesture,incomplete=yes:{root}"
    from_events = {split: content(opened(source, split)) for split in recordings}
    for split, samples in recordings.items():
        for number, (label, one) in enumerate(samples):
            place = root / f"frames_number_{T}_split_by_number" / split / str(label)
            place.mkdir(parents=True, exist_ok=True)
            np.savez(place / f"sample_{number}.npz", frames=make_frames(one, T, (128, 128), "count"))
    shutil.rmtree(root / "events_np")
    for split in recordings:
        published = content(opened(f"dvs128-gesture:{tmp_path / 'published'}", split))
        assert published == from_events[split] == content(opened(source, split))


def test_labels_count_class_folders_as_numbers_unless_spikingjellys_order_is_asked_for(tmp_path: Path) -> None:
    labels = [str(label) for label in range(11)]
    recorded = [events(20, seed=label) for label in range(11)]
    write_cache(tmp_path / "events_np" / "test", labels, recorded)
    numbers = opened(f"dvs128-gesture,incomplete=yes:{tmp_path}", "test")
    assert content(numbers) == expected(list(enumerate(recorded)))
    sorted_as_text = opened(f"dvs128-gesture,classes=spikingjelly,incomplete=yes:{tmp_path}", "test")
    assert content(sorted_as_text) == expected([(sorted(labels).index(str(i)), one) for i, one in enumerate(recorded)])
    gesture = {int(Path(entry.path).parent.name): entry.label for entry in sorted_as_text.entries}
    assert [gesture[number] for number in range(11)] == [0, 1, 3, 4, 5, 6, 7, 8, 9, 10, 2]
    write_gestures(tmp_path / "published")
    published = opened(f"dvs128-gesture,classes=spikingjelly:{tmp_path / 'published'}", "test")
    assert sorted(published.y.tolist()) == [0, 2, 3, 3]  # gestures 1, 11, 3, 3


def test_the_order_is_fixed_and_the_first_samples_are_of_several_classes(tmp_path: Path) -> None:
    write_n_mnist(tmp_path)
    one, other = (opened(f"n-mnist,incomplete=yes:{tmp_path}") for _ in range(2))
    assert one.entries == other.entries
    assert len(set(one.y[:8].tolist())) > 4


def test_a_batch_reads_its_own_files_only(tmp_path: Path) -> None:
    write_n_mnist(tmp_path)
    data = opened(f"n-mnist,incomplete=yes:{tmp_path}")
    read = []

    def noted(entry: object, generator: object) -> np.ndarray:
        read.append(entry)
        return np.zeros((T, 2, 34, 34), np.float32)

    counted = FolderDataset(data.name, data.entries, noted, data.shape, T)
    counted.batch(torch.tensor([3, 1]))
    assert read == [data.entries[3], data.entries[1]]


def test_a_set_can_be_sent_to_another_process(tmp_path: Path) -> None:
    write_gestures(tmp_path)
    data = opened(f"dvs128-gesture:{tmp_path}")
    assert content(pickle.loads(pickle.dumps(data))) == content(data)


def test_a_set_in_memory_and_one_in_a_folder_give_batches_alike(tmp_path: Path) -> None:
    write_n_mnist(tmp_path)
    data = opened(f"n-mnist,incomplete=yes:{tmp_path}")
    in_memory = Dataset(*data.batch(torch.arange(len(data))), data.name)
    indices = torch.tensor([5, 0, 5])
    for one, other in zip(data.batch(indices), in_memory.batch(indices), strict=True):
        assert torch.equal(one, other)


def test_a_folder_trains_as_the_same_samples_in_memory(tmp_path: Path) -> None:
    write_n_mnist(tmp_path)
    in_folder = opened(f"n-mnist,incomplete=yes:{tmp_path}")
    in_memory = Dataset(*in_folder.batch(torch.arange(len(in_folder))), in_folder.name)
    recipe = Recipe(epochs=1, batch_size=8, learning_rate=0.01, timesteps=T)
    losses = []
    for data in (in_folder, in_memory):
        model = tiny_model(input_shape=[2, 34, 34], timesteps=T, classes=10)
        trainer = Trainer(model, recipe, data, seed=0)
        losses.append((trainer.epoch().loss, accuracy(model, data, T)))
    assert losses[0] == losses[1] and math.isfinite(losses[0][0])


# What is missing


def test_a_missing_folder_is_told_with_the_tree_that_is_expected(tmp_path: Path) -> None:
    for name, known in EVENT_SETS.items():
        for folder, told in ((tmp_path / "none", "no such folder"), (tmp_path, "it holds nothing")):
            with pytest.raises(DataError, match=told) as raised:
                opened(f"{name}:{folder}")
            assert known.tree in str(raised.value)


def remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.mark.parametrize(
    ("gone", "message"),
    [
        ("user02_lab.aedat", r"1 of the 2 recordings in trials_to_train.txt or their labels are missing, first user02"),
        ("user01_led_labels.csv", r"1 of the 2 recordings .* missing, first user01_led.aedat"),
        ("trials_to_train.txt", "there is no trials_to_train.txt"),
    ],
)
def test_a_half_extracted_dvs128_gesture_is_refused(tmp_path: Path, gone: str, message: str) -> None:
    write_gestures(tmp_path)
    remove(tmp_path / gone)
    with pytest.raises(DataError, match=message) as raised:
        opened(f"dvs128-gesture:{tmp_path}")
    assert EVENT_SETS["dvs128-gesture"].tree in str(raised.value)
    opened(f"dvs128-gesture:{tmp_path}", "test")
    if gone != "trials_to_train.txt":
        assert len(opened(f"dvs128-gesture,incomplete=yes:{tmp_path}")) == 4


def test_a_half_extracted_folder_of_classes_is_refused(tmp_path: Path) -> None:
    write_n_mnist(tmp_path)
    with pytest.raises(DataError, match=r"Train: 20 of 60,000 samples of N-MNIST are there. Extract it again"):
        opened(f"n-mnist:{tmp_path}")
    remove(tmp_path / "Train" / "7")
    with pytest.raises(DataError, match=r"7: no .bin files of N-MNIST are there; there is no such folder"):
        opened(f"n-mnist:{tmp_path}")
    remove(tmp_path / "Train")
    with pytest.raises(DataError, match=r"no .bin files of N-MNIST are there"):
        opened(f"n-mnist:{tmp_path}")
    assert len(opened(f"n-mnist,incomplete=yes:{tmp_path}", "test")) == 20


def test_files_of_another_version_are_told(tmp_path: Path) -> None:
    for name in CIFAR10:
        (tmp_path / "cifar" / name).mkdir(parents=True)
        (tmp_path / "cifar" / name / "cifar10_0.aedat4").write_bytes(b"")
    with pytest.raises(DataError, match=r"no .aedat files .*; it holds cifar10_0.aedat4. Expected"):
        opened(f"cifar10-dvs:{tmp_path / 'cifar'}")
    (tmp_path / "ibmGestureTrain").mkdir()
    with pytest.raises(DataError, match=r"no folder of DVS128 Gesture; it holds cifar/, ibmGestureTrain/. Expected"):
        opened(f"dvs128-gesture:{tmp_path}")


def test_a_cache_that_spikingjelly_did_not_finish_is_refused(tmp_path: Path) -> None:
    write_cache(tmp_path / "events_np" / "train", ["0"], [events(9, seed=0)])
    (tmp_path / "events_np.building").touch()
    with pytest.raises(DataError, match="events_np: SpikingJelly did not finish writing it"):
        opened(f"dvs128-gesture:{tmp_path}")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("dvs128-gesture", "say in which folder the set lies: dvs128-gesture:FOLDER"),
        ("n-mnist:", "say in which folder"),
        ("n-mnist,by=place:.", "'by=place' is no option of event sets. Choose from by=count|time; classes="),
        ("n-mnist,:.", "'' is no option"),
        ("imagenet,by=time:.", "imagenet takes no options"),
        ("digits:.", "digits takes neither options nor a folder"),
        ("moving-digits,by=time", "moving-digits takes neither"),
    ],
)
def test_names_with_other_options_are_refused(source: str, message: str) -> None:
    with pytest.raises(OptionError) as raised:
        open_samples(source, "train", T)
    assert message in str(raised.value)


def test_events_need_a_number_of_steps() -> None:
    with pytest.raises(OptionError, match=r"say into how many frames .*: --timesteps T"):
        open_samples("n-mnist:.", "train")
    with pytest.raises(OptionError, match="0 time steps: at least 1"):
        open_samples("n-mnist:.", "train", 0)


def test_a_file_that_is_called_like_a_set_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("n-mnist:x.npz")
    np.savez(path, x=np.zeros((1, 1, 2, 2)))
    assert len(load_samples(str(path), (1, 2, 2))) == 1


# What is corrupt


def spoil(entry_path: str) -> None:
    path = Path(entry_path)
    path.write_bytes(path.read_bytes()[:-1])


def test_corrupt_files_are_named_or_left_out_and_counted(tmp_path: Path) -> None:
    write_n_mnist(tmp_path)
    source = f"n-mnist,incomplete=yes:{tmp_path}"
    whole = opened(source)
    bad = [whole.entries[2].path, whole.entries[5].path]
    for path in bad:
        spoil(path)
    with pytest.raises(CorruptFile, match="199 bytes are no multiple of 5") as raised:
        whole.batch(torch.arange(len(whole)))
    assert str(raised.value).startswith(bad[0])
    seen: list[tuple[int, int]] = []
    rest, reasons = without_corrupt(whole, lambda done, of: seen.append((done, of)))
    assert rest.entries == tuple(entry for entry in whole.entries if entry.path not in bad)
    assert [reason.partition(": ")[0] for reason in reasons] == bad
    assert seen[-1] == (20, 20)


def test_a_set_of_corrupt_files_alone_is_refused(tmp_path: Path) -> None:
    write_n_mnist(tmp_path, each=1)
    data = opened(f"n-mnist,incomplete=yes:{tmp_path}", "test")
    for entry in data.entries:
        spoil(entry.path)
    with pytest.raises(DataError, match=r"not one of 10 samples can be read; the first: .* no multiple of 5"):
        without_corrupt(data)
    with pytest.raises(DataError, match="not one of its 10 samples can be read"):
        load_samples(f"n-mnist,incomplete=yes:{tmp_path}", (2, 34, 34), timesteps=T, corrupt=lambda error: None)


def test_a_label_without_events_is_corrupt(tmp_path: Path) -> None:
    write_gestures(tmp_path)
    (tmp_path / "user24_led_labels.csv").write_text("class,start,end\n1,10000000,10000001\n")
    with pytest.raises(
        CorruptFile, match=r"user24_led.aedat: the file holds no events from 10000000 to 10000001 micro"
    ):
        opened(f"dvs128-gesture:{tmp_path}", "test").batch(torch.tensor([0]))


# Commands


@pytest.fixture
def net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a net for N-MNIST's frames and N-MNIST in nmnist/; two files to test are corrupt."""
    monkeypatch.chdir(tmp_path)
    changes = {"input_shape": [2, 34, 34], "timesteps": T, "classes": 10}
    save_checkpoint(tmp_path / "net.pt", tiny_model(**changes), "sew_resnet", tiny_config(**changes))
    write_n_mnist(tmp_path / "nmnist")
    for number in (4, 11):
        spoil(opened("n-mnist,incomplete=yes:nmnist", "test").entries[number].path)
    return tmp_path


EVENTS = "n-mnist,incomplete=yes:nmnist"


@pytest.mark.usefixtures("net")
def test_commands_read_event_sets_and_leave_out_what_is_corrupt_only_on_demand() -> None:
    cli.succeed("export", "net.pt", "--target", "lava", "--calibrate", EVENTS, "-o", "net.lava")
    bad = opened(EVENTS, "test").entries[4].path
    for command in (("simulate", "net.lava"), ("verify", "net.lava"), ("compare", "net.lava", "net.pt@torch")):
        message = cli.fail(*command, "--data", EVENTS)
        assert message.startswith(f"{bad}: 199 bytes are no multiple of 5"), message
        assert message.endswith("leave out what cannot be read: --skip-corrupt.")
    printed = cli.succeed("simulate", "net.lava", "--data", EVENTS, "--skip-corrupt", "-o", "spikes.npz")
    assert f"{EVENTS}: 2 samples cannot be read and are left out:\n  {bad}: 199 bytes" in printed
    assert "of 18 samples right" in printed
    assert cli.arrays("spikes.npz")["neuron1"].shape[:2] == (18, T)


@pytest.mark.usefixtures("net")
def test_a_net_is_trained_on_what_can_be_read_only_on_demand() -> None:
    named = ("--connect", "ADD", "--net", "little-7b", "--recipe", "moving-digits", "--timesteps", T, "--epochs", 1)
    train = ("train", EVENTS, *named, "-o", "trained.pt")
    stopped = cli.run(*train)
    assert stopped.code == 2 and "199 bytes are no multiple of 5" in stopped.err
    assert stopped.err.endswith("leave out what cannot be read: --skip-corrupt.\n")
    assert Path("trained.pt.training").exists(), "what was trained stays"
    told = cli.succeed(*train, "--resume", "--skip-corrupt")
    assert "2 samples cannot be read and are left out" in told and "Wrote trained.pt" in told


@pytest.mark.usefixtures("net")
def test_only_the_samples_that_are_asked_for_are_read() -> None:
    cli.succeed("export", "net.pt", "--target", "lava", "--calibrate", EVENTS, "-o", "net.lava")
    assert "of 4 samples right" in cli.succeed("simulate", "net.lava", "--data", EVENTS, "--samples", 4)
    verified = cli.succeed("verify", "net.lava", "--data", EVENTS, "--samples", 5, "--skip-corrupt")
    assert "1 samples cannot be read" in verified and "Verdict: exact for these 5 samples." in verified
    assert "--samples 0: at least 1" in cli.fail("verify", "net.lava", "--data", EVENTS, "--samples", 0)


@pytest.mark.usefixtures("net")
def test_a_model_for_other_images_is_told_before_a_file_is_read() -> None:
    message = cli.fail("simulate", "net.pt", "--data", EVENTS, "--calibrate", "digits")
    assert "digits: x has shape" in message
    write_gestures(Path("published"))
    for name in ("user01_led", "user02_lab"):
        spoil(f"published/{name}.aedat")
    message = cli.fail("export", "net.pt", "--target", "lava", "--calibrate", "dvs128-gesture:published")
    assert "one step of one sample has shape [2, 128, 128], but the model takes [2, 34, 34]" in message


def test_a_disk_that_cannot_hold_the_samples_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_n_mnist(tmp_path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(DataError, match=r"20 samples take 0.0 GB, which .* cannot hold \(No space left on device\)"):
        load_samples(f"n-mnist,incomplete=yes:{tmp_path}", (2, 34, 34), timesteps=T)


def test_the_document_shows_the_trees_of_the_messages() -> None:
    text = (Path(__file__).parents[2] / "docs" / "data.md").read_text()
    for known in EVENT_SETS.values():
        for line in known.tree.splitlines():
            assert line.strip() in text, line
