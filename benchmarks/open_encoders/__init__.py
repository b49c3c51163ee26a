"""Fine-tuning of encoders, vision and speech models beside the Hugging Face Trainer; see `benchmarks/README.md`."""
