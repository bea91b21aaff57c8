"""MiniRocket with a ridge classifier, as sktime has it (Dempster, Schmidt and Webb, 2021)."""

import numpy as np
from sklearn.linear_model import RidgeClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sktime.transformations.panel.rocket import MiniRocketMultivariate


def predictions(
    x: np.ndarray, y: np.ndarray, x_test: np.ndarray, seed: int
) -> tuple[np.ndarray, int]:
    """Classes of test series (count, steps, features), and how many weights the ridge has.

    The ridge chooses its penalty on the training series by leaving one out.
    """
    features = MiniRocketMultivariate(random_state=seed, n_jobs=1)
    ridge = make_pipeline(
        StandardScaler(with_mean=False), RidgeClassifierCV(alphas=np.logspace(-3, 3, 10))
    )
    ridge.fit(features.fit_transform(np.moveaxis(x, 1, 2)), y)
    found = ridge.predict(features.transform(np.moveaxis(x_test, 1, 2)))
    weights = ridge[-1].coef_.size + ridge[-1].intercept_.size
    return found, weights
