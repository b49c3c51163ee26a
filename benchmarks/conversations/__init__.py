"""What conversations and preferences are compared with: TRL, as oracle and as peer."""
