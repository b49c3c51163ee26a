"""Networks that a checkpoint decides, with any head that `transformers` has: what the tasks with such share."""
