"""Making a plan happen."""
