"""``nearframe tls dev``: a certificate for this machine."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path

from nearframe.cli._output import Subparsers, add_json_option, add_parser, print_json
from nearframe.cli._settings import add_setting, settings_from
from nearframe.listener.devtls import DevelopmentTLS, ensure

_ADVICE = """\
{found}
  certificate  {certificate}
  key          {key}
  authority    {authority}

Start a node with it:
  nearframe origin --home {home} --insecure --tls-cert {certificate} --tls-key {key}

Browsers and programs have to trust the authority once. It can sign for localhost, 127.0.0.0/8 and ::1 only.
  Debian, programs:  sudo cp {authority} /usr/local/share/ca-certificates/nearframe.crt && sudo update-ca-certificates
  Chromium, Chrome:  certutil -d sql:$HOME/.pki/nssdb -A -t C,, -n nearframe -i {authority}
                     (package libnss3-tools)
  Firefox:           Settings, Privacy & Security, View Certificates, Authorities, Import
  nearframe, curl:   --ca-cert {authority}, --cacert {authority}"""


def add_subparser(subparsers: Subparsers, what: str) -> None:
    parser = add_parser(subparsers, "tls", what)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    dev = add_parser(
        commands,
        "dev",
        "make a certificate for this machine, and an authority that signs it",
        "What is there and valid is kept; what ends within a month is made anew.",
    )
    add_setting(dev, "home")
    add_json_option(dev)
    dev.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    home = settings_from(options).home
    made = ensure(home.absolute() / "tls", datetime.now(UTC))
    if options.json:
        print_json(
            {
                "authority": str(made.authority),
                "tls_cert": str(made.files.certificate),
                "tls_key": str(made.files.key),
                "renewed": made.renewed,
            }
        )
    else:
        print(_advice(made, home))
    return 0


def _advice(made: DevelopmentTLS, home: Path) -> str:
    return _ADVICE.format(
        home=home,
        found="Made anew:" if made.renewed else "Still valid:",
        certificate=made.files.certificate,
        key=made.files.key,
        authority=made.authority,
    )
