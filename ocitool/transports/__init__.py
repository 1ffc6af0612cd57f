"""Where images live. A transport knows bytes and descriptors, not images: what they mean is `ocitool.images`' business."""
