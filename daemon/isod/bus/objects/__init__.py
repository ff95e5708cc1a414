"""The objects on the bus: adapters that turn a checked request into a call of the core, without logic of their own."""
