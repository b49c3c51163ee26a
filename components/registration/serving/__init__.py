"""Scripts that MLflow serves: each goes into a model version as a file and runs alone, without this project."""
