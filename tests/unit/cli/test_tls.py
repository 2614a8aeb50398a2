from __future__ import annotations

import json
from pathlib import Path

import pytest

from nearframe.cli import main


def test_it_says_how_to_use_and_trust_what_it_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tls", "dev", "--home", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert text.startswith("Made anew:")
    assert f"--tls-cert {tmp_path}/tls/localhost.pem --tls-key {tmp_path}/tls/localhost.key" in text
    assert main(["tls", "dev", "--home", str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith("Still valid:")


def test_json_names_the_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tls", "dev", "--home", str(tmp_path), "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert Path(made["tls_cert"]).is_file()
    assert Path(made["authority"]).is_file()
    assert made["renewed"] is True
