"""The nodes an edge follows and fetches from, over HTTP."""

from nearframe.edge.upstream.exchange import Timeouts, inbound_via
from nearframe.edge.upstream.feed import FeedAnswer, FeedEntry
from nearframe.edge.upstream.node import Upstream
from nearframe.edge.upstream.ranked import Upstreams

__all__ = ["FeedAnswer", "FeedEntry", "Timeouts", "Upstream", "Upstreams", "inbound_via"]
