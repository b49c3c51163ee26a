"""Tiny checkpoints with random weights of the families that tasks with `model.type: auto` train, a module a kind.

`python -m benchmarks.pretrained_families --write` makes docs/pretrained-families.md of them. A module has

- `TITLE`: what the families are, in words;
- `FAMILIES`: names of the families;
- `task_of(family, folder)`: a task over a small corpus, and the folder with the checkpoint, both below a folder.
"""
