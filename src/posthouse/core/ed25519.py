"""Ed25519 for ``v1a`` signatures, by way of the cryptography package.

Apart from :mod:`posthouse.core.signature` because importing cryptography takes longer than all the
rest of the core: who only signs with HMAC never pays for it.
"""

from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

SEED_BYTES: Final = 32
PUBLIC_KEY_BYTES: Final = 32
SECRET_KEY_BYTES: Final = SEED_BYTES + PUBLIC_KEY_BYTES  #: a seed followed by its public key


class SigningKey:
    """A private key, ready to sign.

    Args:
        raw: a seed, or a seed followed by its public key. Raises ValueError for anything else.
    """

    __slots__ = ("_key", "public_bytes")

    def __init__(self, raw: bytes) -> None:
        if len(raw) not in {SEED_BYTES, SECRET_KEY_BYTES}:
            raise ValueError("An ed25519 secret key has 32 or 64 bytes.")
        self._key = Ed25519PrivateKey.from_private_bytes(raw[:SEED_BYTES])
        #: The 32 bytes of the public key.
        self.public_bytes: bytes = self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        if len(raw) == SECRET_KEY_BYTES and raw[SEED_BYTES:] != self.public_bytes:
            raise ValueError("The second half of the ed25519 secret key is not its public key.")

    def sign(self, message: bytes) -> bytes:
        """The 64 bytes of the signature."""
        return self._key.sign(message)


def verifies(public_key: bytes, signature: bytes, message: bytes) -> bool:
    """Whether ``signature`` is of ``message`` and made with the key of ``public_key``; False for malformed ones."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True
