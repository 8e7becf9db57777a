"""The verb `train`: what a run prepares, the one visible loop, what it keeps, and going on from a trained model."""
