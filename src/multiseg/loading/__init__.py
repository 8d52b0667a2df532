"""From datasets to batches: augmentation, sampling, and the data module that joins them."""
