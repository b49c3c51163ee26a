"""`modelmill registry`: what is registered, and why."""
