"""The training loop, its checkpoints, and how it resumes."""
