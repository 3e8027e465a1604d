"""What shall be done, as pure data."""
