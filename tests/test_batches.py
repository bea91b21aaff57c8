import multiprocessing
import multiprocessing.dummy
import pickle
import resource
import time

import numpy as np
import pytest


def numbered(count, width, **options):
    """Every step of sequence i is i + 1, so that a batch tells its samples."""
    from keras_ssm.datasets import SequenceBatches

    x = np.broadcast_to(np.arange(1, count + 1, dtype="int16")[:, None], (count, width))
    return SequenceBatches(x, np.arange(count), **options)


def labels(batches):
    return [y.tolist() for _, y in batches]


def varying(count=40, width=16):
    """Tokens 1 to 9, padded with 0, of every length from 0 to `width`."""
    random = np.random.RandomState(0)
    lengths = np.resize(np.arange(width + 1), count).astype("int32")
    random.shuffle(lengths)
    x = random.randint(1, 10, (count, width)).astype("uint8")
    x[np.arange(width) >= lengths[:, None]] = 0
    return x, np.arange(count), lengths


@pytest.mark.backend_free
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("buckets", [None, [4, 5, 11, 16]])
def test_every_sample_once_an_epoch(shuffle, buckets):
    from keras_ssm.datasets import SequenceBatches

    x, y, lengths = varying()
    batches = SequenceBatches(x, y, 7, lengths, buckets=buckets, shuffle=shuffle)
    for _ in range(3):
        assert sorted(np.concatenate(labels(batches))) == y.tolist()
        for index, (_, chosen) in enumerate(batches):
            np.testing.assert_array_equal(batches.samples(index), chosen)
        batches.on_epoch_end()


@pytest.mark.backend_free
def test_the_order_is_that_of_seed_and_epoch():
    batches = numbered(23, 3, batch_size=4, shuffle=True, seed=5)
    epochs = []
    for epoch in range(3):
        assert batches.epoch == epoch
        epochs.append(labels(batches))
        batches.on_epoch_end()
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]
    resumed = numbered(23, 3, batch_size=4, shuffle=True, seed=5)
    resumed.epoch = 2
    np.random.seed(99)
    assert labels(resumed) == epochs[2]
    resumed.epoch = 0
    assert labels(resumed) == epochs[0]
    assert labels(numbered(23, 3, batch_size=4, shuffle=True, seed=6)) != epochs[0]
    # Part of what a resumed run means, so it must not move.
    assert epochs[0][:2] == [[2, 16, 22], [5, 7, 10, 11]]
    assert labels(numbered(5, 3, batch_size=2)) == [[0, 1], [2, 3], [4]]


@pytest.mark.backend_free
@pytest.mark.parametrize("shuffle", [False, True])
def test_a_batch_comes_from_one_bucket(shuffle):
    from keras_ssm.datasets import SequenceBatches

    x, y, lengths = varying()
    bounds = [4, 5, 11, 20]
    batches = SequenceBatches(x, y, 3, lengths, buckets=bounds, shuffle=shuffle)
    for tokens, chosen in batches:
        longest = lengths[chosen].max()
        assert tokens.shape[1] == min(bound for bound in bounds if bound >= longest)
        assert all(
            length > max([-1, *bounds][bounds.index(tokens.shape[1])], -1)
            for length in lengths[chosen]
        )
        held = min(16, tokens.shape[1])
        np.testing.assert_array_equal(tokens[:, :held], x[chosen, :held])
        assert not tokens[:, held:].any()
    # Keras learns from the first two batches that the length varies.
    first, second = batches[0][0], batches[1][0]
    assert first.shape[1] != second.shape[1]


@pytest.mark.backend_free
def test_drop_last_keeps_full_batches():
    batches = numbered(23, 3, batch_size=4, drop_last=True, shuffle=True)
    assert [len(batch) for batch in labels(batches)] == [4] * 5
    with pytest.raises(ValueError, match=r"Received: 23 sequences .* batch_size=24"):
        numbered(23, 3, batch_size=24, drop_last=True)


@pytest.mark.backend_free
@pytest.mark.parametrize("length", [1, 3, 5, 8])
def test_crops_and_pads_to_a_length(length):
    from keras_ssm.datasets import SequenceBatches

    x = np.arange(1, 31).reshape(6, 5)
    ((batch, _),) = SequenceBatches(x, np.zeros(6), 6, length=length)
    assert batch.shape == (6, length)
    np.testing.assert_array_equal(batch, np.pad(x, [(0, 0), (0, 3)])[:, :length])


@pytest.mark.backend_free
def test_pairs_of_sequences_share_a_bucket():
    from keras_ssm.datasets import SequenceBatches

    x = np.ones((3, 2, 8), "uint8")
    lengths = np.array([[2, 3], [8, 1], [1, 4]])
    batches = SequenceBatches(x, np.arange(3), 2, lengths, buckets=[4, 8])
    (short, first), (long, second) = batches
    assert (short.shape, first.tolist()) == ((2, 2, 4), [0, 2])
    assert (long.shape, second.tolist()) == ((1, 2, 8), [1])
    np.testing.assert_array_equal(short.sum(axis=2), lengths[[0, 2]])
    np.testing.assert_array_equal(long.sum(axis=2), lengths[[1]])


@pytest.mark.backend_free
@pytest.mark.parametrize("dtype", ["uint8", "int16", "int64", "bool"])
def test_integers_stay_integers(dtype):
    from keras_ssm.datasets import SequenceBatches

    x = np.array([[0, 1], [1, 0]], dtype)
    ((batch, y),) = SequenceBatches(x, np.array([0.5, 1.5]), 2)
    assert batch.dtype == "int32"
    np.testing.assert_array_equal(batch, x)
    assert y.tolist() == [0.5, 1.5]


@pytest.mark.backend_free
def test_scaling_gives_floats_with_features():
    from keras_ssm.datasets import SequenceBatches

    random = np.random.RandomState(0)
    audio = random.randint(-(2**15), 2**15, (5, 6)).astype("int16")
    for mean, std in [(3.0, 7.0), (np.arange(6.0), np.arange(1, 7.0)), (None, 2.0), (1.5, None)]:
        ((batch, _),) = SequenceBatches(audio, np.zeros(5), 5, mean=mean, std=std)
        assert (batch.shape, batch.dtype) == ((5, 6, 1), "float32")
        expected = (audio - (0 if mean is None else mean)) / (1 if std is None else std)
        np.testing.assert_allclose(batch[:, :, 0], expected, rtol=1e-6)
    # A value per step is cropped with the sequence; one per feature is not.
    ((batch, _),) = SequenceBatches(audio, np.zeros(5), 5, mean=np.arange(6.0), length=4)
    np.testing.assert_allclose(batch[:, :, 0], audio[:, :4] - np.arange(4), rtol=1e-6)
    colours = random.randint(0, 256, (5, 6, 3)).astype("uint8")
    ((batch, _),) = SequenceBatches(
        colours, np.zeros(5), 5, mean=[1, 2, 3], std=[4, 5, 6], length=2
    )
    np.testing.assert_allclose(batch, (colours[:, :2] - [1, 2, 3]) / [4, 5, 6], rtol=1e-5)
    features = random.standard_normal((5, 6))
    ((batch, _),) = SequenceBatches(features, np.zeros(5), 5)
    np.testing.assert_array_equal(batch, features.astype("float32")[:, :, None])


@pytest.mark.backend_free
def test_what_follows_a_sequence_is_zero():
    """So that a model that masks features that are all 0 sees the padding, scaled or not."""
    from keras_ssm.datasets import SequenceBatches

    x, lengths = np.full((3, 4, 2), 9.0), np.array([1, 4, 2])
    ((batch, _),) = SequenceBatches(x, np.zeros(3), 3, lengths, mean=1.0, std=2.0, length=6)
    assert batch.shape == (3, 6, 2)
    np.testing.assert_array_equal((batch != 0).all(axis=2).sum(axis=1), lengths)
    np.testing.assert_array_equal((batch != 0).any(axis=2).sum(axis=1), lengths)


@pytest.mark.backend_free
@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"batch_size": 0}, "batch_size=0"),
        ({"length": 0}, "length=0"),
        ({"length": 4, "buckets": [4]}, r"length=4, buckets=\[4\]"),
        ({"buckets": []}, r"buckets=\[\]"),
        ({"buckets": [4, 4]}, r"buckets=\[4, 4\]"),
        ({"buckets": [0, 4]}, r"buckets=\[0, 4\]"),
        ({"buckets": [2, 3]}, "sequence 1 of 4 steps"),
        ({"y": np.zeros(2)}, r"3 and y of shape \(2,\)"),
        ({"x": np.zeros((0, 4))}, r"shape \(0, 4\)"),
        ({"x": np.zeros(3)}, r"shape \(3,\)"),
        ({"x": np.array([["a"], ["b"], ["c"]])}, "<U1"),
        ({"lengths": [1, 2]}, r"lengths of shape \(2,\)"),
        ({"lengths": [1.0, 2, 3]}, "float64"),
        ({"lengths": [1, 2, 5]}, "1 to 5"),
        ({"lengths": [-1, 2, 4]}, "-1 to 4"),
        ({"std": 0.0}, "smallest of 0.0"),
        ({"mean": np.zeros(3)}, r"mean of shape \(3,\)"),
        ({"mean": np.zeros((4, 1))}, r"mean of shape \(4, 1\)"),
        ({"mean": "half"}, "mean='half'"),
        ({"mean": np.nan}, "mean with nan"),
        ({"std": np.inf}, "std with inf"),
        ({"seed": -1}, "seed=-1"),
        ({"buckets": [2.5, 4]}, r"buckets=\[2.5, 4\]"),
        ({"buckets": "ab"}, r"buckets=\['a', 'b'\]"),
        ({"y": 3}, r"3 and y of shape \(\)"),
        ({"y": [[1], [2, 3], [4]]}, "a list of other things"),
        ({"y": [1, 2, 2**31]}, "0 to 2147483648"),
        ({"x": np.full((3, 4), 2**31)}, "0 to 2147483648"),
        ({"x": np.full((3, 4), -(2**31) - 1)}, "-2147483649 to 0"),
        ({"x": 3, "lengths": None}, r"int64 x of shape \(\)"),
        ({"x": [[1], [2, 2**40], [3]], "lengths": None}, "0 to 1099511627776"),
        ({"x": [[1], [2, 3], [3]], "lengths": [1, 1, 1]}, r"lengths=\[1, 1, 1\]"),
        ({"x": [[1], ["a", "b"], [3]], "lengths": None}, r"<U1 x\[1\] of shape \(2,\)"),
        ({"x": [[1], [[2, 3]], [3]], "lengths": None}, r"x\[1\] of shape \(1, 2\)"),
        ({"x": [np.zeros((2, 3)), np.zeros((1, 2)), [3]], "lengths": None}, r"shape \(1, 2\)"),
        ({"x": [[1], [[2], [3, 4]], [3]], "lengths": None}, "a sequence that is not an array"),
        ({"x": [[1], [2, None], [3]], "lengths": None}, r"object x\[1\]"),
    ],
)
def test_wrong_arguments(options, found):
    from keras_ssm.datasets import SequenceBatches

    given = {"x": np.zeros((3, 4), "uint8"), "y": np.zeros(3), "batch_size": 2}
    given["lengths"] = [1, 4, 2]
    with pytest.raises(ValueError, match=rf"Received: .*{found}"):
        SequenceBatches(**{**given, **options})


# Memory maps.


@pytest.fixture
def large(tmp_path):
    """A map of 2 GB that takes no disk: reading it whole would show."""
    path = tmp_path / "large.bin"
    with open(path, "wb") as file:
        file.truncate(1000 + 2**31)
    return np.memmap(path, "uint8", "r", 1000, (2**14, 2, 2**16))


@pytest.mark.backend_free
def test_a_map_is_read_a_batch_at_a_time(large):
    from keras_ssm.datasets import SequenceBatches

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for x in (large[:, 0], large[:, 0, ::2], large):
        batches = SequenceBatches(x, np.zeros(len(x)), 32, length=1, shuffle=True, mean=1.0)
        for index in range(4):
            assert (batches[index][0] == -1).all()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 300e3  # kilobytes


RAGGED = [np.array([3, 1]), np.array([2, 2, 5, 4]), np.array([], "int64"), np.array([7])]


def as_objects(rows):
    objects = np.empty(len(rows), object)
    objects[:] = rows
    return objects


@pytest.mark.backend_free
@pytest.mark.parametrize("kind", [list, tuple, as_objects, lambda x: [row.tolist() for row in x]])
@pytest.mark.parametrize("features", [(), (3,)])
def test_a_list_of_arrays_is_padded(kind, features):
    from keras_ssm.datasets import SequenceBatches

    rows = [np.broadcast_to(row.reshape(-1, *np.ones_like(features)), (len(row), *features))
            for row in RAGGED]  # fmt: skip
    if features:
        rows = [row if len(row) else np.zeros((0, 3), "int64") for row in rows]
        if kind not in (list, tuple, as_objects):
            rows = rows[:2] + rows[3:]
    dense = np.zeros((len(rows), 4, *features), "int64")
    for padded, row in zip(dense, rows, strict=True):
        padded[: len(row)] = row
    lengths = [len(row) for row in rows]
    y = np.arange(len(rows))
    for options in ({}, {"length": 3}, {"length": 6}, {"buckets": [2, 4]}, {"mean": 1, "std": 2}):
        options = {**options, "shuffle": True, "batch_size": 2}
        found = SequenceBatches(kind(rows), y, **options)
        expected = SequenceBatches(dense, y, lengths=lengths, **options)
        for (x, labels), (x_expected, labels_expected) in zip(found, expected, strict=True):
            np.testing.assert_array_equal(x, x_expected)
            assert x.dtype == x_expected.dtype
            np.testing.assert_array_equal(labels, labels_expected)


@pytest.mark.backend_free
def test_a_list_of_maps_is_pickled_as_the_names_of_their_files(tmp_path):
    from keras_ssm.datasets import SequenceBatches

    np.arange(9000, dtype="int16").tofile(tmp_path / "rows.bin")
    whole = np.memmap(tmp_path / "rows.bin", "int16", "r")
    batches = SequenceBatches([whole[:4000], whole[4000:]], [0, 1], 2)
    pickled = pickle.dumps(batches)
    assert len(pickled) < 3000
    np.testing.assert_array_equal(pickle.loads(pickled)[0][0], batches[0][0])
    assert batches[0][0].shape == (2, 5000)


@pytest.mark.backend_free
@pytest.mark.parametrize(
    "view",
    [lambda x: x, lambda x: x[3:], lambda x: x[2:, ::2], lambda x: x[::3, 1:]],
    ids=["all", "rows", "every second step", "every third row"],
)
def test_a_map_is_pickled_as_the_name_of_its_file(tmp_path, view):
    path = tmp_path / "rows.bin"
    content = np.random.RandomState(0).randint(-9, 9, 13 + 20 * 300).astype("int16")
    content.tofile(path)
    x = view(np.memmap(path, "int16", "r", 26, (20, 300)))
    check_pickling(x, smaller=True)


@pytest.mark.backend_free
def test_other_arrays_are_pickled_as_they_are():
    x = np.arange(60).reshape(12, 5)
    check_pickling(x)
    check_pickling(x[::-1])


def check_pickling(x, smaller=False):
    from keras_ssm.datasets import SequenceBatches

    batches = SequenceBatches(x, np.arange(len(x)), 4, shuffle=True, seed=3)
    batches.epoch = 2
    pickled = pickle.dumps(batches)
    assert not smaller or len(pickled) < x.nbytes / 2
    there = pickle.loads(pickled)
    assert there.epoch == 2
    for (one, y), (other, y_there) in zip(batches, there, strict=True):
        np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(y, y_there)


@pytest.mark.backend_free
@pytest.mark.parametrize("kind", [multiprocessing.dummy, multiprocessing.get_context("spawn")])
def test_threads_and_processes_give_the_same_batches(large, kind):
    from keras_ssm.datasets import SequenceBatches

    x = large[:300, 0, :20]
    batches = SequenceBatches(x, np.arange(300), 4, shuffle=True)
    batches.epoch = 2
    with kind.Pool(2 if kind is multiprocessing.dummy else 1) as pool:
        there = pool.map(batches.__getitem__, range(len(batches)))
    assert [y.tolist() for _, y in there] == labels(batches)


@pytest.mark.backend_free
def test_faster_than_any_training(tmp_path):
    """Tokens of the length of ListOps: more than 20,000 sequences in a second."""
    from keras_ssm.datasets import SequenceBatches

    path = tmp_path / "tokens.bin"
    with open(path, "wb") as file:
        file.truncate(10000 * 2048)
    x = np.memmap(path, "uint8", "r", 0, (10000, 2048))
    lengths = np.full(len(x), 1000)
    batches = SequenceBatches(x, np.zeros(len(x), "int32"), 50, lengths, shuffle=True)
    fastest = np.inf
    for _ in range(3):
        start = time.perf_counter()
        for _ in batches:
            pass
        fastest = min(fastest, time.perf_counter() - start)
    assert len(x) / fastest > 20000


# Training.


def token_model():
    import keras

    from keras_ssm import layers

    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((None,), dtype="int32"),
            keras.layers.Embedding(10, 4, mask_zero=True),
            layers.SequencePooling("mean"),
            keras.layers.Dense(3),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, jit_compile=False)
    return model


@pytest.mark.training
def test_fit_sees_the_batches_of_every_epoch():
    from keras_ssm.datasets import FollowEpochs, SequenceBatches

    x, y, lengths = varying()

    def batches():
        return SequenceBatches(x, y % 3, 8, lengths, buckets=[8, 16], shuffle=True, seed=3)

    def fit(model, **options):
        one = batches()
        callbacks = [FollowEpochs(one)]
        model.fit(one, shuffle=False, verbose=0, callbacks=callbacks, **options)

    by_hand, fitted = token_model(), token_model()
    one = batches()
    for epoch in range(3):
        one.epoch = epoch
        for batch in one:
            by_hand.train_on_batch(*batch)
    fit(fitted, epochs=2)
    fit(fitted, epochs=3, initial_epoch=2)
    for expected, found in zip(by_hand.get_weights(), fitted.get_weights(), strict=True):
        np.testing.assert_allclose(expected, found, rtol=1e-5, atol=1e-6)


@pytest.mark.training
def test_every_epoch_of_fit_has_an_order_of_its_own():
    import keras

    batches = numbered(12, 2, batch_size=3, shuffle=True, mean=0)
    seen = []
    follow = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: seen.append(labels(batches))
    )
    model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(1)])
    model.compile("sgd", "mse", jit_compile=False)
    model.fit(batches, epochs=3, shuffle=False, verbose=0, callbacks=[follow])
    assert seen[0] != seen[1] != seen[2] != seen[0]


# Several processes.


def parts_of(world, **options):
    """The batches of an epoch, each put together from the parts of all processes."""
    from keras_ssm.datasets import SequenceBatches

    x, y, lengths = varying()
    options = {"batch_size": 8, "lengths": lengths, "shuffle": True, "seed": 3, **options}
    epoch = options.pop("epoch", 0)
    processes = [SequenceBatches(x, y, shard=(rank, world), **options) for rank in range(world)]
    for process in processes:
        process.epoch = epoch
    return list(zip(*processes, strict=True))


@pytest.mark.backend_free
@pytest.mark.parametrize("buckets", [None, [4, 5, 11, 16]])
@pytest.mark.parametrize("world", [2, 4])
def test_processes_share_the_batches_of_one(world, buckets):
    """In order, and those that are not full too: 40 sequences in buckets leave odd ones."""
    for epoch in (0, 3):
        whole = parts_of(1, buckets=buckets, epoch=epoch)
        shared = parts_of(world, buckets=buckets, epoch=epoch)
        assert len(shared) == len(whole)
        for ((x, y),), parts in zip(whole, shared, strict=True):
            np.testing.assert_array_equal(np.concatenate([x for x, _ in parts]), x)
            np.testing.assert_array_equal(np.concatenate([y for _, y in parts]), y)
            sizes = [len(y) for _, y in parts]
            assert max(sizes) - min(sizes) <= 1


@pytest.mark.backend_free
def test_a_process_reads_its_part_of_a_file_and_nothing_else(tmp_path):
    from keras_ssm.datasets import SequenceBatches

    np.save(tmp_path / "x.npy", np.arange(24).reshape(12, 2))
    x = np.load(tmp_path / "x.npy", mmap_mode="r")
    batches = SequenceBatches(x, np.arange(12), 4, shuffle=True, shard=(1, 2))
    read = []

    class Recording(np.ndarray):
        def __getitem__(self, index):
            if isinstance(index, np.ndarray):
                read.extend(index)
            return super().__getitem__(index)

    batches._x = batches._x.view(Recording)
    mine = np.concatenate(labels(batches))
    assert list(map(int, read)) == mine.tolist()
    assert len(mine) == 6


@pytest.mark.backend_free
@pytest.mark.parametrize("shard", [(2, 2), (-1, 2), (0, 0), 3, (0, 1, 2), (0.5, 2)])
def test_a_shard_is_a_rank_below_a_number_of_processes(shard):
    with pytest.raises(ValueError, match=r"`shard` must be \(rank, world\).*Received: shard="):
        numbered(8, 3, batch_size=4, shard=shard)


@pytest.mark.backend_free
def test_processes_must_be_able_to_share_a_batch():
    with pytest.raises(ValueError, match=r"multiple of the 3 processes.*Received: batch_size=4"):
        numbered(8, 3, batch_size=4, shard=(0, 3))
