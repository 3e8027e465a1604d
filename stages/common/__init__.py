"""What a second method needs, no more."""
