"""One package a kind of model: its recipe, and what each step does for it (docs/add-a-task.md)."""
