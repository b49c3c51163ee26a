"""What a person does with a cluster from outside: compile for it, submit, follow, schedule, trigger."""

from pathlib import Path

DEFAULT_CLUSTER = Path("cluster.yaml")
DEFAULT_SCHEDULES = Path("schedules.yaml")
