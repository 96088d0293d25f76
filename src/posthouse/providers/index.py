"""Every preset that comes with Posthouse, by its name."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from posthouse.core.errors import InvalidInput
from posthouse.providers.preset import Preset
from posthouse.providers.senders import (
    adyen,
    asana,
    autotask,
    aws_sns,
    boldpenguin,
    calendly,
    chargebee,
    connectwise,
    cornerstone,
    degreed,
    discord,
    docusign,
    dropbox,
    elevenlabs,
    github,
    gitlab,
    gocardless,
    halopsa,
    hubspot,
    intercom,
    linear,
    mailgun,
    meta,
    paddle,
    paypal,
    plaid,
    postmark,
    procore,
    sendgrid,
    shopify,
    slack,
    square,
    standard_webhooks,
    stripe,
    svix,
    twilio,
    twitch,
    typeform,
    vercel,
    webflow,
    woocommerce,
    zendesk,
    zoom,
)

_MODULES: Final = (
    adyen,
    asana,
    autotask,
    aws_sns,
    boldpenguin,
    calendly,
    chargebee,
    connectwise,
    cornerstone,
    degreed,
    discord,
    docusign,
    dropbox,
    elevenlabs,
    github,
    gitlab,
    gocardless,
    halopsa,
    hubspot,
    intercom,
    linear,
    mailgun,
    meta,
    paddle,
    paypal,
    plaid,
    postmark,
    procore,
    sendgrid,
    shopify,
    slack,
    square,
    standard_webhooks,
    stripe,
    svix,
    twilio,
    twitch,
    typeform,
    vercel,
    webflow,
    woocommerce,
    zendesk,
    zoom,
)

PRESETS: Final[Mapping[str, Preset]] = MappingProxyType({module.PRESET.name: module.PRESET for module in _MODULES})


def preset_named(name: str) -> Preset:
    """The preset of this name. Raises InvalidInput."""
    preset = PRESETS.get(name)
    if preset is None:
        raise InvalidInput.at(
            "provider",
            "provider",
            "There is no preset of this name.",
            hint="Use 'custom' and declare it, or one of: " + ", ".join(sorted(PRESETS)) + ".",
        )
    return preset
