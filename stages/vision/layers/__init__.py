"""The layers that image networks are made of."""
