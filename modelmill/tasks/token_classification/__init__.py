"""Token classification: a pretrained encoder that finds the entities in a text."""
