"""Training methods: each one LightningModule in one file, found by its class path in a recipe."""
