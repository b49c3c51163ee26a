"""Conversations and preferences: their types, the formats they come in, and what is checked of them."""
