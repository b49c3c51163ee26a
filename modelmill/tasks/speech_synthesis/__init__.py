"""Speech synthesis: characters into mel spectra, and these into samples."""
