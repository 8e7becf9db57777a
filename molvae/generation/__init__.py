"""A trained model in chemists' terms: latents and molecules, conditions, paths and neighbours, the verb `generate`."""
