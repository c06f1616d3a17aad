"""A mesh made for a test: an authority whose certificates carry names such as ``spiffe://…``."""

from __future__ import annotations

import datetime as dt
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_HOUR = dt.timedelta(hours=1)
_Key = ec.EllipticCurvePrivateKey


class Mesh:
    """Issues certificates; ``file`` is its own, as PEM."""

    def __init__(self, folder: Path, name: str = "mesh") -> None:
        self._folder, self._name, self._issued = folder, name, 0
        self._key = ec.generate_private_key(ec.SECP256R1())
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        builder = self._builder(self._named(name), self._key).add_extension(constraints, critical=True)
        self._certificate = builder.sign(self._key, hashes.SHA256())
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))

    def client(self, *uris: str) -> ssl.SSLContext:
        """What a client of the mesh connects with: a certificate with these URI names."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(self._named("client"), key)
        if uris:
            names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri) for uri in uris])
            builder = builder.add_extension(names, critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        self._issued += 1
        file = self._folder / f"{self._name}-client-{self._issued}.pem"
        private = serialization.PrivateFormat.PKCS8
        content = key.private_bytes(serialization.Encoding.PEM, private, serialization.NoEncryption())
        file.write_bytes(content + certificate.public_bytes(serialization.Encoding.PEM))
        context = any_server()
        context.load_cert_chain(file)
        return context

    def _builder(self, subject: x509.Name, key: _Key) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self._named(self._name))
        builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
        return builder.not_valid_before(now - _HOUR).not_valid_after(now + _HOUR)

    def _named(self, name: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def any_server() -> ssl.SSLContext:
    """What a client connects with that has no certificate, and trusts whatever it meets."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context
