"""Output for people and machines: tables, progress and JSON."""
