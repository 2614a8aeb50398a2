"""Which DICOM peer a command talks to."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from nearframe.cli._output import add_json_option
from nearframe.cli._settings import add_setting, settings_from
from nearframe.dimse.channel import Timeouts
from nearframe.dimse.peers import KnownPeer, peer_named
from nearframe.dimse.scu import Peer
from nearframe.dimse.tls import Credentials
from nearframe.errors import ConfigurationError
from nearframe.settingkinds import NUMBER


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
    parser.add_argument("--tls", action="store_true", help="speak TLS; implied by the next four")
    parser.add_argument("--ca-cert", type=Path, metavar="FILE", help="who signs certificates that we trust (PEM)")
    parser.add_argument("--cert", type=Path, metavar="FILE", help="our certificate, with its chain (PEM)")
    parser.add_argument("--key", type=Path, metavar="FILE", help="its key (PEM), if it is not in the same file")
    parser.add_argument(
        "--tls-name", metavar="NAME", help="what the peer's certificate calls it, if not HOST; * for any name"
    )
    add_json_option(parser)


def peer_of(options: argparse.Namespace) -> Peer:
    """Return the peer that the options name; raises as `known_peer_of`, and if a file cannot be used."""
    return known_peer_of(options).as_called_by(settings_from(options).ae_title)


def known_peer_of(options: argparse.Namespace) -> KnownPeer:
    """Return what the settings, or the options, say of a peer.

    Raises
    ------
    ConfigurationError
        If it is not known, or where it listens is not.
    """
    settings = settings_from(options)
    return _with_tls(options, peer_named(options.peer, settings), Credentials.of(settings))


def timeouts_of(options: argparse.Namespace) -> Timeouts:
    return Timeouts(answer_s=options.timeout)


def _with_tls(options: argparse.Namespace, peer: KnownPeer, ours: Credentials) -> KnownPeer:
    """Return the peer as the options want it to be spoken to; what they leave out is as in the settings."""
    if not (options.tls or options.ca_cert or options.cert or options.key or options.tls_name):
        return peer
    if options.key and not options.cert:
        raise ConfigurationError("--key is given and --cert is not: it is the key of a certificate")
    settled = peer.tls or ours
    wanted = replace(settled, authority=options.ca_cert or settled.authority)
    if options.cert:
        wanted = replace(wanted, certificate=options.cert, key=options.key)
    return replace(peer, tls=wanted, tls_name=options.tls_name or peer.tls_name)


def _seconds(text: str) -> float:
    try:
        return NUMBER.read(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError("expected a number of seconds") from error
