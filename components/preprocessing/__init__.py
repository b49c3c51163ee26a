"""The preprocessing step."""
