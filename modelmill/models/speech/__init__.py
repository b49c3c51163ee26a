"""Networks of speech and the spectra that they read."""
