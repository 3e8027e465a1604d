"""Image networks by name: `factory.create`, `config.BackboneConfig`."""
