"""Layouts of data beside tables: what lies in a folder becomes shards whose rows are those of a manifest."""
