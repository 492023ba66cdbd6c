"""Files of strangers: bounds, readers that keep to them, and output made harmless. docs/security.md says the rest."""
