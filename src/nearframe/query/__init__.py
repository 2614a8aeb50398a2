"""Search, retrieval and synchronisation services that every role speaks."""
