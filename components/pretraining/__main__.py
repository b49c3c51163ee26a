"""One of several processes of the step, which torchrun starts."""

from components.pretraining.step import make
from components.training import processes

processes.join(make)
