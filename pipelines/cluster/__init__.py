"""What a person does with a cluster from outside: compile for it, submit, follow, schedule, trigger."""
