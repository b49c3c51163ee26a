"""Text hygiene: what is mended in documents, and which of them are left out of the corpus, as the recipe says."""
