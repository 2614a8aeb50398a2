"""What nodes say to each other: change feed, manifests, deltas, contents. Origins and edges speak it alike."""
