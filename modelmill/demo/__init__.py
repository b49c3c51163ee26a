"""Sources of demo data that several tasks use."""
