"""One process of a small training run, which ends by SIGKILL at its second epoch if it is told to.

python tests/trained_together.py RANK_TO_KILL ARGUMENT... of `keras-ssm`
"""

import os
import signal
import sys

# Two thirds of a batch are left over for the last one of the validation and the test part.
SIZES = {"train": 24, "validation": 11, "test": 11}
SMALL = ["train", "digits", "--layer", "s5", "--set", "epochs=3", "batch_size=8"]


def shrink(replace):
    """Give the command a few images and a model with batch norm that compiles at once.

    Args:
        replace: `setattr`, or that of a `MonkeyPatch`.
    """
    import keras

    from keras_ssm import recipes
    from keras_ssm.datasets import digits
    from keras_ssm.layers import S5

    def build(recipe):
        layers = [
            keras.Input((64, 1)),
            keras.layers.AveragePooling1D(8),
            S5(2),
            keras.layers.BatchNormalization(),
            keras.layers.Flatten(),
            keras.layers.Dense(10, name="head"),
        ]
        return keras.Sequential(layers, name="small")

    sizes = SIZES.values()
    parts = [(x[:n].copy(), y[:n]) for (x, y), n in zip(digits.load_data(), sizes, strict=True)]
    replace(digits, "load_data", lambda: parts)
    replace(recipes, "build_model", build)


def main(rank_to_kill, *arguments):
    """Run the command."""
    import keras_ssm_cli
    from keras_ssm import datasets

    shrink(setattr)
    rank = os.environ.get("RANK") or os.environ.get("KERAS_DISTRIBUTION_PROCESS_ID")
    if "TF_CONFIG" in os.environ:
        import json

        import tensorflow as tf

        tf.config.run_functions_eagerly(True)
        rank = str(json.loads(os.environ["TF_CONFIG"])["task"]["index"])

    def end(self, batch, logs=None):
        if (self.batches.epoch, batch) == (1, 1) and rank == rank_to_kill:
            os.kill(os.getpid(), signal.SIGKILL)

    datasets.FollowEpochs.on_train_batch_begin = end
    return keras_ssm_cli.main(arguments)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
