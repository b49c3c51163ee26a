"""Measures of a language model: losses of documents and responses, preferences, tool calls, samples."""
