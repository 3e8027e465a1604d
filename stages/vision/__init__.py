"""Images: networks, augmentation, loading, and the stages that train on them."""
