"""The steps of the pipeline, one folder each: what is a container."""
