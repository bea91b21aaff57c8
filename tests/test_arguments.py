"""Wrong arguments name what was expected and what came; regularizers and constraints act."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_ssm import models
from keras_ssm.layers import DSS, S4D, S5, OneHotDense, SSMCell

LAYERS = [DSS, S4D, S5]


def built(layer, features=6):
    layer.build((None, None, features))
    return layer


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"state_size": 0}, r"`state_size` must be a positive integer.*state_size=0"),
        ({"state_size": -8}, r"`state_size` must be a positive integer.*state_size=-8"),
        ({"state_size": 8.0}, r"`state_size` must be a positive integer.*state_size=8\.0"),
        ({"step_min": 0.1, "step_max": 0.1}, r"step_min < step_max.*step_min=0\.1, step_max=0\.1"),
        ({"step_min": 0.0}, r"0 < step_min.*step_min=0\.0"),
        ({"rate": 0.0}, r"`rate` must be a positive number.*rate=0\.0"),
        ({"D_initializer": "nowhere"}, r"nowhere"),
    ],
)
def test_common_arguments(layer, options, message):
    with pytest.raises(ValueError, match=message):
        layer(**options)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: OneHotDense(0, 4), r"`vocabulary_size` must be a positive.*vocabulary_size=0"),
        (lambda: OneHotDense(4, 0), r"`units` must be a positive integer.*units=0"),
        (lambda: DSS(kernel="relu"), r"`kernel` must be one of .*'softmax'.*kernel='relu'"),
        (lambda: DSS(initialization="legs"), r"'skew-hippo'.*initialization='legs'"),
        (lambda: DSS(kernel="exp", initialization="random"), r"either sign.*kernel='exp'"),
        (lambda: DSS(channels=0), r"`channels` must be a positive integer.*channels=0"),
        (lambda: DSS(kernel="exp", length=10), r"does not depend on the length.*length=10"),
        (lambda: S4D(7), r"`state_size` must be even.*state_size=7"),
        (lambda: S4D(initialization="legz"), r"'legs'.*initialization='legz'"),
        (lambda: S4D(initialization=["lin", "legz"]), r"'legs'.*\['lin', 'legz'\]"),
        (lambda: S4D(discretization="euler"), r"'bilinear'.*'zoh'.*discretization='euler'"),
        (lambda: S4D(parametrization={"real": "tanh"}), r"'softplus'.*='tanh'"),
        (lambda: S4D(parametrization={"reel": "exp"}), r"may have 'real'.*'reel'"),
        (lambda: S4D(n_ssm=0), r"`n_ssm` must be a positive integer.*n_ssm=0"),
        (lambda: built(S4D(8, n_ssm=4)), r"`n_ssm` must divide.*n_ssm=4, features=6"),
        (lambda: S5(7), r"every block even.*state_size=7, blocks=1"),
        (lambda: S5(8, blocks=3), r"multiple of `blocks`.*state_size=8, blocks=3"),
        (lambda: S5(8, blocks=8), r"every block even.*state_size=8, blocks=8"),
        (lambda: S5(8, blocks=0), r"blocks=0"),
        (lambda: S5(9, blocks=2, conjugate_symmetry=False), r"state_size=9, blocks=2"),
        (lambda: S5(discretization="dss"), r"\['bilinear', 'zoh'\].*discretization='dss'"),
        (lambda: S5(initialization="legs"), r"\('hippo',\)|\['hippo'\].*initialization='legs'"),
        (lambda: S5(C_initializer="glorot_uniform"), r"'lecun_normal'.*'glorot_uniform'"),
        (lambda: SSMCell(S5(4), 0), r"`units` must be a positive integer.*units=0"),
        (lambda: SSMCell(S5(8, bidirectional=True), 4), r"one direction.*bidirectional=True"),
        (lambda: SSMCell(S4D(4), 4).build((None, 5)), r"made for 4 features.*\(None, 5\)"),
        (lambda: models.classifier(3, (None, 1), layer="lstm"), r"'dss', 'lru', .*'lstm'"),
        (lambda: models.classifier(3, (None, 1), depth=0), r"`depth` must be .*depth=0"),
        (lambda: models.classifier(3, (None,)), r"\(length, features\).*input_shape=\(None,\)"),
        (lambda: models.classifier(3, (None, 1), vocabulary_size=9), r"vocabulary_size=9"),
        (lambda: models.classifier(3, (None, 1), pooling="max"), r"'all_mean'.*mode='max'"),
    ],
)
def test_arguments_of_one_layer_or_builder(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("layer", LAYERS)
def test_inputs_of_a_wrong_rank_or_width(layer):
    with pytest.raises(ValueError, match="expected ndim=3, found ndim=2"):
        layer(8)(np.ones((2, 5), "float32"))
    with pytest.raises(ValueError, match=r"known number of channels.*\(None, 10, None\)"):
        layer(8).build((None, 10, None))
    fitted = built(layer(8))
    with pytest.raises(ValueError, match=r"axis -1 .*value 6, but received"):
        fitted(np.ones((2, 5, 4), "float32"))


@pytest.mark.parametrize(
    ("layer", "names"), [(DSS, "WD"), (S4D, "BCD"), (S5, "BCD")], ids=["dss", "s4d", "s5"]
)
def test_regularizers_add_their_loss_and_constraints_are_kept(layer, names):
    for name in names:
        plain = built(layer(8))
        assert plain.losses == []
        options = {f"{name}_regularizer": "l2", f"{name}_constraint": "non_neg"}
        both = built(layer.from_config(layer(8, **options).get_config()))
        weight = getattr(both, name)
        expected = 0.01 * np.sum(np.square(ops.convert_to_numpy(weight)))
        (loss,) = both.losses
        assert float(ops.convert_to_numpy(loss)) == pytest.approx(expected, rel=1e-5)
        assert isinstance(weight.constraint, keras.constraints.NonNeg)
        constrained = [w.name for w in both.weights if w.constraint is not None]
        assert constrained == [name]


@pytest.mark.training
def test_a_constraint_holds_while_training():
    layer = S5(8, B_constraint="non_neg")
    model = keras.Sequential([keras.Input((4, 2)), layer])
    model.compile("sgd", "mse")
    assert np.min(ops.convert_to_numpy(layer.B)) < 0
    model.train_on_batch(np.ones((2, 4, 2), "float32"), np.zeros((2, 4, 2), "float32"))
    assert np.min(ops.convert_to_numpy(layer.B)) == 0
