"""Which endpoints are to answer a handshake before they get anything, and how it is kept that one has.

What is kept is a digest of the format and the URL. So it says nothing of another receiver: whoever changes the URL need
not think of it, and a change that is lost or comes twice cannot let anything out to a receiver that agreed to nothing.
The secret is not part of it. A receiver learns it by the handshake, but it may be replaced afterwards without another
one, as the system that is played does with its own.
"""

from hashlib import blake2b
from typing import Final

from posthouse.core.model import Endpoint
from posthouse.formats.index import FORMS

_DIGEST_BYTES: Final = 16


def mark_of(endpoint: Endpoint) -> str:
    """What ``rules.greeted`` is once the receiver at the URL of ``endpoint`` has answered the handshake."""
    return blake2b(f"{endpoint.rules.format} {endpoint.url}".encode(), digest_size=_DIGEST_BYTES).hexdigest()


def is_unmet(endpoint: Endpoint) -> bool:
    """Whether ``endpoint`` has a handshake to answer first."""
    form = FORMS.get(endpoint.rules.format)
    return form is not None and form.handshake is not None and endpoint.rules.greeted != mark_of(endpoint)
