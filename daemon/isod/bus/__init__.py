"""The bus side of isod: from a message to a decision, a call of the core, a reply and an audit record."""
