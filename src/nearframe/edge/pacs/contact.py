"""Associations with the archive behind an edge: whether it answers, and what is wrong if it does not."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from nearframe.clock import Clock
from nearframe.dimse.items import Role
from nearframe.dimse.scp import Operation
from nearframe.dimse.scu import Peer, User, associate
from nearframe.edge.breaker import Breaker
from nearframe.errors import NotAcceptable, Refused, UpstreamError, UpstreamTimeout, UpstreamUnavailable


class Contact:
    """How it stands with one peer. For one event loop."""

    def __init__(self, peer: Peer, clock: Clock, rng: random.Random) -> None:
        self.peer = peer
        self.breaker = Breaker(clock, rng)
        self._clock = clock
        self._contact: float | None = None

    @property
    def last_contact_s(self) -> float | None:
        """Seconds since it last answered, or None before it ever did."""
        return None if self._contact is None else self._clock.monotonic() - self._contact

    @property
    def is_reachable(self) -> bool:
        return self._contact is not None and not self.breaker.is_open

    @asynccontextmanager
    async def associate(
        self,
        contexts: Sequence[tuple[str, tuple[str, ...]]],
        roles: Sequence[Role] = (),
        on_request: Operation | None = None,
    ) -> AsyncIterator[User]:
        """Hold an association, as `scu.associate`.

        Raises
        ------
        UpstreamError
            If there is none, or it ends, or the peer does not do what is asked on it.
        """
        self.breaker.check()
        try:
            async with associate(self.peer, contexts, roles=roles, on_request=on_request) as user:
                self._answered()
                yield user
        except (UpstreamUnavailable, UpstreamTimeout):
            self.breaker.failed()
            raise
        except Refused as error:
            self._answered()
            raise UpstreamError(str(error)) from error
        except NotAcceptable as error:
            raise UpstreamError(str(error)) from error

    def _answered(self) -> None:
        self._contact = self._clock.monotonic()
        self.breaker.succeeded()
