"""One of several processes of the step, which torchrun starts."""

from components.fine_tuning.step import make
from components.training import processes

processes.join(make)
