"""What a trained model is good for beside making molecules: foreign molecules told apart, files packed, maps, probes."""
