"""A detector: objects in pictures, each with its class and its box."""
