"""Certificates made for one test run, by an authority that nobody else trusts."""

from __future__ import annotations

import ssl
from pathlib import Path

import trustme


class Authority:
    """Signs certificates; everything it makes lies as PEM files in ``folder``."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self._authority = trustme.CA(organization_name=name)
        self._folder, self._name = folder, name
        self.file = folder / f"{name}.pem"
        self._authority.cert_pem.write_to_path(str(self.file))

    def issue(self, *names: str) -> tuple[Path, Path]:
        """The files of a certificate for these host names or addresses, and of its key."""
        issued = self._authority.issue_cert(*names)
        certificate = self._folder / f"{self._name}-{names[0]}.pem"
        key = certificate.with_suffix(".key")
        for blob in issued.cert_chain_pems:
            blob.write_to_path(str(certificate), append=blob is not issued.cert_chain_pems[0])
        issued.private_key_pem.write_to_path(str(key))
        return certificate, key

    def client_context(self) -> ssl.SSLContext:
        """What a client uses that trusts this authority alone."""
        return ssl.create_default_context(cafile=str(self.file))
