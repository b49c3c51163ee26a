"""Recordings of speech with their texts."""
