"""Looking at data before and beside training: what is wrong with it, what it holds, what a model sees in it."""
