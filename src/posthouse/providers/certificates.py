"""Signatures by the key of a certificate, which was fetched from where the sender shows it."""

from typing import TYPE_CHECKING

from posthouse.core import signature
from posthouse.core.errors import SignatureInvalid

if TYPE_CHECKING:
    from cryptography.x509 import Certificate


def certificate(pem: bytes | None, now_s: int) -> "Certificate":
    """The first certificate of a PEM file, which is valid now. Raises SignatureInvalid."""
    from cryptography.x509 import load_pem_x509_certificates  # noqa: PLC0415 - only loaded for who uses it

    if pem is None:
        raise SignatureInvalid(signature.NO_MATCH, "The certificate of the sender was not fetched.")
    try:
        found = load_pem_x509_certificates(pem)[0]
        starts, ends = found.not_valid_before_utc.timestamp(), found.not_valid_after_utc.timestamp()
    except ValueError as error:
        raise SignatureInvalid(signature.NO_MATCH, "What was fetched is not a certificate.") from error
    if not starts <= now_s <= ends:
        raise SignatureInvalid(signature.NO_MATCH, "The certificate of the sender is not valid now.")
    return found


def rsa_verifies(sender: "Certificate", given: bytes, message: bytes, digest: str) -> bool:
    """Whether ``given`` is the PKCS #1 v1.5 signature of ``message`` by the certificate's RSA key."""
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm  # noqa: PLC0415
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey  # noqa: PLC0415

    # Version 1 of SNS, the default of a topic, has no better digest than SHA-1.
    algorithm = hashes.SHA256() if digest == "SHA256" else hashes.SHA1()  # noqa: S303
    try:
        key = sender.public_key()
        if not isinstance(key, RSAPublicKey):
            return False
        key.verify(given, message, PKCS1v15(), algorithm)
    except (InvalidSignature, UnsupportedAlgorithm, ValueError):
        return False
    return True
