"""Where the DAG runs. Each runner is a process of its own, so that the command line stays light and quiet."""
