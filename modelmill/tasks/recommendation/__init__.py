"""Which item a user comes to next, ranked over the whole catalogue."""
