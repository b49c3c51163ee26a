"""Helpers of serving scripts, shipped with them; see `modelmill.components.registration.served_code`."""
