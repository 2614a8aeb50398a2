"""Sockets, TLS and HTTP: the one place that knows which server we run on.

Applications are ASGI and may count on, over HTTP/1.1 and HTTP/2 alike:

- `send` waits while the client reads slowly, so a long answer needs little memory;
- `receive` hands out an upload as it arrives, and the client waits while we are slow;
- after the client has gone, `receive` says so and `send` raises `ClientGone`;
- an answer that is not finished (the application returned or failed half-way) reaches the
  client as an error, never as a shorter answer;
- bodies of answers to HEAD are dropped: send the same as for GET.

A request that is held until something happens watches ``scope[STOPPING]``, an event, and
answers when it is set: a node that is told to stop need not wait for it.

An application names its routes for the metrics: ``scope["state"]["route"] = "frames"``.
"""

from nearframe.listener.address import is_loopback
from nearframe.listener.allocator import tune_allocator
from nearframe.listener.exchange import LEAVING, STOPPING, ClientGone
from nearframe.listener.server import Listener, TLSFiles, serve

__all__ = ["LEAVING", "STOPPING", "ClientGone", "Listener", "TLSFiles", "is_loopback", "serve", "tune_allocator"]
