"""One of several processes of the step, started by torchrun."""

from modelmill.components.fine_tuning.step import make
from modelmill.training.launch import processes

processes.join(make)
