"""Pictures of a machine, as display classes in scikit-learn's form; they need `pip install "skrbm[plots]"`.

`from_estimator` computes what is to be seen and draws it; `plot` draws it again, into axes of yours if you like. The
colours can be told apart by the colour-blind, and in greyscale but for the signs of large matrices of couplings.

Imports `support`: a machine is whatever has the public methods of an estimator.

Examples
--------
>>> import numpy as np
>>> from skrbm import BernoulliRBMTorch
>>> from skrbm.plots import HiddenActivityDisplay
>>> rbm = BernoulliRBMTorch(n_hidden=4, n_iter=2, random_state=0).fit(np.eye(6))
>>> HiddenActivityDisplay(rbm.transform(np.eye(6))).dead.sum()  # and .plot() draws it
np.int64(0)
"""

from skrbm.plots.couplings import CouplingsDisplay
from skrbm.plots.curves import HiddenActivityDisplay, LearningCurveDisplay
from skrbm.plots.filters import FiltersDisplay
from skrbm.plots.samples import SamplesDisplay

__all__ = ["CouplingsDisplay", "FiltersDisplay", "HiddenActivityDisplay", "LearningCurveDisplay", "SamplesDisplay"]
