"""Verifying what arrives: the public door to the signature rules of Standard Webhooks."""

from posthouse.core.errors import SignatureInvalid
from posthouse.core.signature import verify

__all__ = ["SignatureInvalid", "verify"]
