"""What is refused before anything listens; the rest is in tests/integration/listener."""

from __future__ import annotations

from pathlib import Path

import pytest

from nearframe.config import Settings
from nearframe.errors import ConfigurationError
from nearframe.listener import Listener, TLSFiles
from nearframe.listener.server import require_insecure_loopback
from nearframe.metrics import Metrics
from nearframe.settingkinds import Address


def test_without_insecure_it_says_what_that_means() -> None:
    with pytest.raises(ConfigurationError, match=r"no access control yet.*--insecure.*this machine only"):
        require_insecure_loopback(Settings())


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_insecure_means_loopback_only(host: str) -> None:
    with pytest.raises(ConfigurationError, match="reachable from other machines"):
        require_insecure_loopback(Settings(insecure=True, http=Address(host, 8042)))


def test_loopback_is_fine() -> None:
    require_insecure_loopback(Settings(insecure=True, http=Address("::1", 8042)))


@pytest.mark.parametrize(("text", "says"), [(None, "cannot read tls_cert"), ("no PEM", "not PEM")])
def test_a_certificate_that_cannot_be_used(tmp_path: Path, text: str | None, says: str) -> None:
    file = tmp_path / "x.pem"
    if text is not None:
        file.write_text(text)

    async def app(*_: object) -> None: ...

    with pytest.raises(ConfigurationError, match=says):
        Listener(app, Address("127.0.0.1", 0), metrics=Metrics(), tls=TLSFiles(file, file))
