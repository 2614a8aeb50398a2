"""Taking in what a node is sent: spooled, taken apart, digested, durable before the answer. Origins and edges alike."""
