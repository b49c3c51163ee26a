"""Text hygiene: changes to documents, and the choice of those that are left out of the corpus."""
