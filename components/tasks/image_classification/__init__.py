"""Images into classes."""
