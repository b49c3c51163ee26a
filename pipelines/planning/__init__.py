"""What a run will do and what it will cost, known before it begins."""
