"""The report of a run, written by the pipeline's exit handler."""
