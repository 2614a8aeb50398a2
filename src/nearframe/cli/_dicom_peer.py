"""Which DICOM peer a command talks to."""

from __future__ import annotations

import argparse
import ssl
from pathlib import Path

from nearframe.cli._output import add_json_option
from nearframe.cli._settings import add_setting, settings_from
from nearframe.dimse.channel import Timeouts
from nearframe.dimse.peers import read_peers
from nearframe.dimse.scu import Peer
from nearframe.errors import ConfigurationError
from nearframe.settingkinds import AE_TITLE, NUMBER, Address


def add_peer_options(parser: argparse.ArgumentParser, timeout_s: float = 60) -> None:
    """Add the peer, and the options that say how to speak to it."""
    parser.add_argument("peer", metavar="PEER", help="TITLE@HOST:PORT, or the AE title of one of [[peers]]")
    add_setting(parser, "ae_title")
    parser.add_argument(
        "--timeout",
        type=_seconds,
        default=timeout_s,
        metavar="SECONDS",
        help=f"how long to wait for an answer ({timeout_s:g})",
    )
    parser.add_argument("--tls", action="store_true", help="speak TLS; implied by the next three")
    parser.add_argument("--ca-cert", type=Path, metavar="FILE", help="certificates to trust (PEM)")
    parser.add_argument("--cert", type=Path, metavar="FILE", help="our certificate, with its chain (PEM)")
    parser.add_argument("--key", type=Path, metavar="FILE", help="its key (PEM)")
    add_json_option(parser)


def peer_of(options: argparse.Namespace) -> Peer:
    """Return the peer that the options name.

    Raises
    ------
    ConfigurationError
        If it is not known, or where it listens is not.
    """
    settings = settings_from(options)
    title, at, place = options.peer.rpartition("@")
    if at:
        try:
            address = Address.parse(place)
            title = AE_TITLE.read(title)
        except ValueError as error:
            raise ConfigurationError(f"{options.peer}: expected TITLE@HOST:PORT ({error})") from error
        return Peer(address.host, address.port, title, settings.ae_title, _tls(options))
    known = read_peers(settings.peers).get(options.peer)
    if known is None:
        raise ConfigurationError(f"{options.peer}: no such peer in the settings; expected TITLE@HOST:PORT, or a name")
    if not known.host:
        raise ConfigurationError(f"{options.peer}: the settings do not say where it listens (host and port)")
    return Peer(known.host, known.port, known.ae_title, settings.ae_title, _tls(options))


def timeouts_of(options: argparse.Namespace) -> Timeouts:
    return Timeouts(answer_s=options.timeout)


def _tls(options: argparse.Namespace) -> ssl.SSLContext | None:
    if not (options.tls or options.ca_cert or options.cert):
        return None
    try:
        context = ssl.create_default_context(cafile=options.ca_cert)
        if options.cert:
            context.load_cert_chain(options.cert, options.key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"--ca-cert, --cert, --key: not readable as PEM ({error})") from error
    return context


def _seconds(text: str) -> float:
    try:
        return NUMBER.read(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError("expected a number of seconds") from error
