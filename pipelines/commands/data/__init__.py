"""`modelmill data`: what can be asked of data outside a run."""
