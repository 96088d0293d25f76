"""Every format but the usual one, by its name."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from posthouse.core.rules import Format
from posthouse.formats import cloudevents, senders
from posthouse.formats.form import Form

#: ``Format.STANDARD`` is not here: it is what core.envelope, core.batch and core.signature make.
FORMS: Final[Mapping[Format, Form]] = MappingProxyType(
    {
        Format.CLOUDEVENTS_BINARY: cloudevents.BINARY,
        Format.CLOUDEVENTS_STRUCTURED: cloudevents.STRUCTURED,
        Format.CLOUDEVENTS_BATCH: cloudevents.BATCH,
        Format.RAW: senders.RAW,
        Format.GOCARDLESS: senders.GOCARDLESS,
        Format.ASANA: senders.ASANA,
        Format.BOLDPENGUIN: senders.BOLDPENGUIN,
        Format.PROCORE: senders.PROCORE,
    }
)
