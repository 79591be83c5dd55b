"""Learning. Imports `diagnostics` and what is below; nothing of scikit-learn."""

from skrbm.training.balance import Balanced, balance_modes
from skrbm.training.checkpoint import CheckpointFile
from skrbm.training.couplings import Couplings, CouplingsWarning, DistinctRows, Moments, distinct_rows, moments
from skrbm.training.couplings_exact import learn_exactly
from skrbm.training.couplings_pseudo import learn_by_pseudolikelihood
from skrbm.training.fit import Run, Start, begin, train
from skrbm.training.gradients import Centering, Gradient, Statistics, statistics
from skrbm.training.learned import Learned
from skrbm.training.listeners import Listener, Listeners, PrintEpochs
from skrbm.training.measures import EarlyStopping, Measures, measure, validation_score
from skrbm.training.observers import Average, Observer, Trajectory
from skrbm.training.settings import TrainSettings, gibbs_steps, rate_scheduler
from skrbm.training.state import Streams, TrainState, start_state
from skrbm.training.update import EpochRecord, epoch_, update_

# fmt: off
__all__ = [
    "Average", "Balanced", "Centering", "CheckpointFile", "Couplings", "CouplingsWarning", "DistinctRows",
    "EarlyStopping", "EpochRecord", "Gradient", "Learned", "Listener", "Listeners", "Measures", "Moments",
    "Observer", "PrintEpochs", "Run", "Start", "Statistics", "Streams", "TrainSettings", "TrainState",
    "Trajectory", "balance_modes", "begin", "distinct_rows", "epoch_", "gibbs_steps", "learn_by_pseudolikelihood",
    "learn_exactly", "measure", "moments", "rate_scheduler", "start_state", "statistics", "train", "update_",
    "validation_score",
]
# fmt: on
