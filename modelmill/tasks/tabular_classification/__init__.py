"""A classifier on the columns of a table."""
