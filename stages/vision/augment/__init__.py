"""Augmentation of batches of images, every draw a function of seed, epoch and example."""
