"""Image classification: training, evaluation, export."""
