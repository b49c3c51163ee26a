"""Fine-tuning of models that exist, beside TRL and plain transformers."""
