"""Runs on demand: any number of askers, over any number of replicas, get one run of a recipe on the same data."""
