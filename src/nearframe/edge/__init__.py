"""The node near the clinic: follows the feed, fetches by digest, serves."""
