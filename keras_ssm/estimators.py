"""Sequence classifiers and regressors in the style of scikit-learn.

Imported on demand, `import keras_ssm.estimators`: the rest of the package does not
need scikit-learn.
"""

import contextlib
import functools
import random
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.utils import check_array, check_random_state, column_or_1d
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_consistent_length, check_is_fitted, validate_data
except ImportError as error:
    raise ImportError(
        "keras_ssm.estimators builds on scikit-learn 1.6 or newer, which is not installed. "
        'Install it with `pip install "keras-ssm[sklearn]"`.'
    ) from error

from keras_ssm.datasets import splits
from keras_ssm.datasets.batches import SequenceBatches
from keras_ssm.layers.scales import length_scales
from keras_ssm.models import classifier
from keras_ssm.optimizers import adamw

__all__ = ["SSMClassifier", "SSMRegressor"]


class _SequenceEstimator(BaseEstimator):
    """What both estimators share: input in several forms, the model, and its training."""

    def __init__(
        self,
        layer: str = "s5",
        depth: int = 2,
        width: int = 64,
        state_size: int = 64,
        bidirectional: bool = True,
        dropout: float = 0.1,
        epochs: int = 100,
        batch_size: int = 16,
        learning_rate: float = 4e-3,
        weight_decay: float = 0.01,
        validation_fraction: float = 0.1,
        patience: int = 20,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.layer = layer
        self.depth = depth
        self.width = width
        self.state_size = state_size
        self.bidirectional = bidirectional
        self.dropout = dropout
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.random_state = random_state
        self.verbose = verbose

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    def _fit(self, X: Any, y: np.ndarray, strata: np.ndarray, outputs: int, loss: Any) -> None:
        """Train on sequences X for targets y, holding out a share of every stratum."""
        splits.check_fractions(validation_fraction=self.validation_fraction)
        sequences = self._sequences(X, fit=True)
        check_consistent_length(sequences, y)
        lengths = [len(sequence) for sequence in sequences]
        self.masked_ = min(lengths) < max(lengths)
        seed = check_random_state(self.random_state).randint(2**31 - 1)
        counts = np.unique(strata, return_counts=True)[1]
        # Too few sequences to hold any of them out are all trained on.
        enough = np.round(self.validation_fraction * counts).any()
        fraction = self.validation_fraction if enough else 0.0
        train, held_out, _ = splits.by_class(strata, (fraction, 0.0), seed)
        values = np.concatenate([sequences[index] for index in train])
        self.mean_, deviation = values.mean(axis=0), values.std(axis=0)
        self.scale_ = np.where(deviation > 0, deviation, 1.0)
        batches = self._batches([sequences[index] for index in train], y[train], seed)
        validation, callbacks = None, []
        if len(held_out):
            validation = self._batches([sequences[index] for index in held_out], y[held_out])
            callbacks = [
                keras.callbacks.EarlyStopping(
                    "val_loss", patience=self.patience, restore_best_weights=True
                )
            ]
        with _seeded(seed):
            self.model_ = _model(
                self, outputs, (None, values.shape[1] + self.masked_), max(lengths)
            )
            rates = self.learning_rate, self.learning_rate / 4, self.weight_decay
            self.model_.compile(adamw(*rates, total_steps=self.epochs * len(batches)), loss)
            history = self.model_.fit(
                batches,
                epochs=self.epochs,
                validation_data=validation,
                callbacks=callbacks,
                shuffle=False,
                verbose=self.verbose,
            )
        self.history_ = history.history

    def _outputs(self, X: Any) -> np.ndarray:
        """What the model gives for every sequence, (count, outputs)."""
        check_is_fitted(self)
        sequences = self._sequences(X, fit=False)
        lengths = np.array([len(sequence) for sequence in sequences])
        # A model without masks reads one length at a time.
        groups = lengths * (not self.masked_)
        outputs: Any = None
        for group in np.unique(groups):
            members = np.flatnonzero(groups == group)
            batches = self._batches([sequences[index] for index in members.tolist()])
            some = self.model_.predict(batches, verbose=0)
            outputs = np.empty((len(sequences), some.shape[1])) if outputs is None else outputs
            outputs[members] = some
        return outputs

    def _sequences(self, X: Any, fit: bool) -> Sequence[np.ndarray]:
        """Every sequence as (steps, features)."""
        table = getattr(X, "ndim", None) != 3 and not _listed(X)
        if fit:
            self.table_ = table
        if table:
            # With the number and the names of columns, if `fit` had columns.
            check = functools.partial(validate_data, self, reset=fit)
            X = (check if self.table_ else check_array)(X, dtype="float64")
            self._check_channels(1, fit)
            return X[:, :, None]
        if not _listed(X):
            X = check_array(X, dtype="float64", allow_nd=True, input_name="X")
        sequences = [_sequence(x, number) for number, x in enumerate(X)]
        channels = sorted({sequence.shape[1] for sequence in sequences})
        if len(channels) != 1:
            raise ValueError(
                "`X` must have as many features in every sequence. "
                f"Received: sequences of {channels} features"
            )
        if fit:
            self.n_features_in_ = channels[0]
            if hasattr(self, "feature_names_in_"):
                del self.feature_names_in_
        self._check_channels(channels[0], fit)
        return sequences

    def _check_channels(self, channels: int, fit: bool) -> None:
        if not fit and channels != len(self.mean_):
            raise ValueError(
                f"`X` must have {len(self.mean_)} features at every step, as in `fit`. "
                f"Received: sequences of {channels} features"
            )

    def _batches(
        self, sequences: Sequence[np.ndarray], y: np.ndarray | None = None, seed: int | None = None
    ) -> SequenceBatches:
        """Scaled and padded; with masks, one more feature that is 1 at every step there is."""
        lengths = np.array([len(sequence) for sequence in sequences])
        channels = len(self.mean_)
        x = np.zeros((len(sequences), lengths.max(), channels + self.masked_), "float32")
        for row, sequence in zip(x, sequences, strict=True):
            row[: len(sequence), :channels] = (sequence - self.mean_) / self.scale_
            row[: len(sequence), channels:] = 1
        y = np.zeros(len(x)) if y is None else y
        if seed is None:
            return SequenceBatches(x, y, self.batch_size)
        # A small set would give a step or two in an epoch. Batches of one size are compiled once;
        # what is left out of an epoch changes from one to the next.
        batch_size = min(self.batch_size, max(4, len(x) // 10), len(x))
        return SequenceBatches(x, y, batch_size, shuffle=True, seed=seed, drop_last=True)


class SSMClassifier(ClassifierMixin, _SequenceEstimator):
    """Classifies sequences with a stack of state space layers, as a scikit-learn estimator.

    It works in pipelines, cross-validation and grid search. Features are scaled to mean
    0 and standard deviation 1, sequences of unequal lengths are masked, and training stops when
    the loss of a held-out part of the training data has not fallen for `patience`
    epochs; the best weights are kept. Time scales start between a step and the length
    of the longest sequence.

    `X` is one of
    - a 3-D array (count, steps, features);
    - a list of arrays (steps, features) or (steps,), of any lengths;
    - a 2-D array, or a pandas table, (count, steps): sequences of one feature. As
      scikit-learn demands of tables, it has as many steps in `predict` as in `fit`;
      lists and 3-D arrays may have other lengths.

    Args:
        layer: `"s5"`, `"s4d"`, `"s4"`, `"dss"` or `"lru"`.
        depth: number of blocks.
        width: features between the blocks.
        state_size: of every layer.
        bidirectional: read the sequence in both directions.
        dropout: rate.
        epochs: passes through the data, at most. The learning rate falls to 0 with the last.
        batch_size: sequences in a batch; a tenth of the training data, if that is less, or 4.
        learning_rate: at the start; a quarter of it for the state space parameters.
        weight_decay: of all other parameters.
        validation_fraction: share of the training data that decides when to stop; 0, or
            too few sequences in every class, trains on everything for all epochs.
        patience: epochs without a better loss before training stops.
        random_state: integer for the same result in every run; a `RandomState`; or None.
            `fit` sets the seed of Keras, and leaves those of Python and NumPy as they were.
        verbose: of `keras.Model.fit`.

    Attributes:
        classes_: labels in the order of `predict_proba`.
        model_: the `keras.Model`, which gives logits.
        history_: losses by epoch.
        n_features_in_: features of a step; of a 2-D array its steps.

    Raises:
        ValueError: from `fit` and `predict`, for sequences that do not fit together, have
            no steps, or hold NaN or infinity.

    Example:

    >>> from keras_ssm.estimators import SSMClassifier
    >>> t = np.arange(30)
    >>> X = [np.sin(rate * t[:length]) for rate in (0.1, 0.9) for length in range(20, 30)]
    >>> y = ["slow"] * 10 + ["fast"] * 10
    >>> model = SSMClassifier(depth=1, width=8, state_size=8, epochs=30, random_state=0)
    >>> model.fit(X, y).predict([np.sin(0.1 * t), np.sin(0.9 * t)])
    array(['slow', 'fast'], dtype='<U4')
    """

    def fit(self, X: Any, y: Any) -> "SSMClassifier":
        """Train on sequences and their labels.

        Args:
            X: sequences.
            y: labels (count,).

        Returns:
            The estimator itself.
        """
        if y is None:
            raise ValueError("SSMClassifier requires y to be passed, but the target y is None")
        check_classification_targets(y)
        y = column_or_1d(y, warn=True)
        self.classes_, numbers = np.unique(y, return_inverse=True)
        numbers = numbers.astype("int32")
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        self._fit(X, numbers, numbers, len(self.classes_), loss)
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probability of every class.

        Args:
            X: sequences.

        Returns:
            Array (count, classes), in the order of `classes_`.
        """
        logits = self._outputs(X)
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        return exponentials / exponentials.sum(axis=1, keepdims=True)

    def predict(self, X: Any) -> np.ndarray:
        """Label of the most probable class.

        Args:
            X: sequences.

        Returns:
            Labels (count,).
        """
        outputs = self._outputs(X)
        return self.classes_[np.argmax(outputs, axis=1)]


class SSMRegressor(RegressorMixin, _SequenceEstimator):
    """Predicts numbers from sequences with state space layers, as a scikit-learn estimator.

    Sequences, arguments and training are those of `SSMClassifier`. The targets are scaled
    to mean 0 and standard deviation 1 while training, and the loss is the mean squared error.

    Attributes:
        model_: the `keras.Model`, which gives scaled targets.
        history_: losses by epoch.
        n_features_in_: features of a step; of a 2-D array its steps.

    Raises:
        ValueError: from `fit` and `predict`, for sequences that do not fit together, have
            no steps, or hold NaN or infinity; for targets that are not finite.

    Example:

    >>> from keras_ssm.estimators import SSMRegressor
    >>> rates = np.linspace(0.1, 0.9, 32)
    >>> X = np.sin(rates[:, None] * np.arange(30))
    >>> model = SSMRegressor(depth=1, width=8, state_size=8, epochs=40, random_state=0)
    >>> bool(model.fit(X, rates).score(X, rates) > 0.5)
    True
    """

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.single_output = True
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: Any, y: Any) -> "SSMRegressor":
        """Train on sequences and their targets.

        Args:
            X: sequences.
            y: numbers (count,) or (count, outputs).

        Returns:
            The estimator itself.
        """
        if y is None:
            raise ValueError("SSMRegressor requires y to be passed, but the target y is None")
        y = check_array(y, dtype="float64", ensure_2d=False, allow_nd=False, input_name="y")
        targets = y.reshape(len(y), -1)
        self.target_mean_, deviation = targets.mean(axis=0), targets.std(axis=0)
        self.target_scale_ = np.where(deviation > 0, deviation, 1.0)
        self.single_output_ = y.ndim == 1
        targets = ((targets - self.target_mean_) / self.target_scale_).astype("float32")
        self._fit(X, targets, np.zeros(len(targets)), targets.shape[1], "mean_squared_error")
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Predicted numbers.

        Args:
            X: sequences.

        Returns:
            Array (count,) or (count, outputs), as the targets of `fit`.
        """
        y = self._outputs(X) * self.target_scale_ + self.target_mean_
        return y[:, 0] if self.single_output_ else y


def _model(
    estimator: _SequenceEstimator, outputs: int, input_shape: tuple[None, int], longest: int
) -> keras.Model:
    scales: dict[str, Any] = length_scales(estimator.layer, longest)
    return classifier(
        outputs,
        input_shape,
        layer=estimator.layer,
        depth=estimator.depth,
        width=estimator.width,
        state_size=estimator.state_size,
        masked=estimator.masked_,
        pooling="mean",
        dropout=estimator.dropout,
        bidirectional=estimator.bidirectional,
        **scales,
    )


def _listed(X: Any) -> bool:
    """Whether X is a list of sequences, and not a table as rows of numbers of one length."""
    if isinstance(X, np.ndarray) and X.dtype == object and X.ndim == 1:
        X = list(X)
    if not isinstance(X, (list, tuple)):
        return False
    if any(isinstance(x, np.ndarray) and x.ndim for x in X):
        return True
    rows = [x for x in X if isinstance(x, (list, tuple))]
    nested = any(isinstance(value, (list, tuple, np.ndarray)) for row in rows for value in row[:1])
    return nested or len({len(row) for row in rows}) > 1


def _sequence(x: Any, number: int) -> np.ndarray:
    try:
        x = np.asarray(x)
    except ValueError:  # rows of unequal lengths
        x = np.asarray(x, object)
    if x.ndim not in (1, 2) or not x.size or x.dtype.kind not in "buif":
        raise ValueError(
            "every sequence in `X` must be numbers of shape (steps, features) or (steps,), with at "
            f"least one step. Received: {x.dtype} X[{number}] of shape {x.shape}"
        )
    if not np.isfinite(x).all():
        raise ValueError(f"`X` must not hold NaN or infinity. Received: such values in X[{number}]")
    return x.reshape(len(x), -1).astype("float64")


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Keras seeded; afterwards, the generators of Python and NumPy are as they were."""
    states = random.getstate(), np.random.get_state()
    keras.utils.set_random_seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
