"""Writing requests as real senders write and sign them, with what each of their events means.

What a request means is worked out here from what the providers document, and not by the presets.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from itertools import count
from random import Random
from types import MappingProxyType
from typing import Any, Final

from posthouse.testing.simulation.key_host import key_at
from posthouse.testing.simulation.plan import KEY_HOST, SourcePlan
from posthouse.testing.simulation.records import Letter, Meant

_DAY_MS: Final = 86_400_000
_ID_WINDOW_MS: Final = 30 * _DAY_MS
_CONTENT_WINDOW_MS: Final = 300_000
_BEAT_SHARE: Final = 0.15
_FILLER_MAX: Final = 300

#: Events of GitHub: the name in the header, the action in the body, and what every one of its kind has there.
_GITHUB: Final = (
    ("push", None, "commits"),
    ("issues", "opened", "issue"),
    ("order", "paid", None),
    ("user.left", None, None),
    ("misc", None, None),
)
_RECORDS: Final = ("order.created", "TrainingCompleted", "user.signup", "misc")
_ENTITIES: Final = ("ticket", "company", "order", "user")
_STRANGER: Final = "somebody else"

#: What a sender is told its secret is: of one the company that it is.
SECRETS: Final[Mapping[str, str]] = MappingProxyType(
    {"github": "a secret of both", "cornerstone": "0123456789abcdef0123456789abcdef", "connectwise": "acme_c"}
)


class Writer:
    """Writes the letters of one sender.

    Args:
        plan: of its source.
        chance: its own.
        nonces: numbers that no two events share.
        now_ms: the sender's clock, which never steps.
    """

    def __init__(self, plan: SourcePlan, chance: Random, nonces: "count[int]", now_ms: Callable[[], int]) -> None:
        self._plan = plan
        self._chance = chance
        self._nonces = nonces
        self._now_ms = now_ms
        self._offset = chance.randrange(1_000)
        self._records: list[Meant] = []  # that were sent before, and may come once more
        self._write = {"github": self._github, "cornerstone": self._cornerstone, "connectwise": self._connectwise}

    def write(self, secret: str, *, plain: bool = False) -> Letter:
        """The next one, signed by ``secret``; ``plain``: genuine, and nothing is odd about it."""
        chance, plan = self._chance, self._plan
        forged = not plain and chance.random() < plan.forged_share
        odd = not plain and not forged and chance.random() < plan.odd_share
        letter = self._write[plan.provider](_STRANGER if forged else secret, odd)
        letter.secret, letter.forged = secret, forged
        return letter

    # -- one event, with an id of its own --------------------------------------------------------

    def _github(self, secret: str, odd: bool) -> Letter:  # noqa: FBT001 - one of three of a kind
        nonce = next(self._nonces)
        name, action, subject = self._chance.choice(_GITHUB[:2] if odd else _GITHUB)
        readable = not odd or self._chance.random() < 0.5
        document: dict[str, Any] = {"n": nonce, **self._filler()}
        if action is not None:
            document["action"] = action
        if subject is not None and not odd:
            document[subject] = []
        body = json.dumps(document).encode() if readable else b'{"n": %d, "action' % nonce
        guid = f"{nonce:08d}-{self._chance.getrandbits(32):08x}"
        headers = (
            ("Content-Type", "application/json"),
            ("X-GitHub-Event", name),
            ("X-GitHub-Delivery", guid),
            ("X-Hub-Signature-256", "sha256=" + hmac.digest(secret.encode(), body, "sha256").hex()),
        )
        meant = Meant(
            type=".".join(part for part in (name, action) if part),
            data=body,
            identity=f"id {guid}",
            window_ms=_ID_WINDOW_MS,
            contradicts=odd,
        )
        return Letter(self._plan.number, "", headers, body, (meant,) if readable else (), readable=readable)

    # -- records of a log, several at once ---------------------------------------------------------

    def _cornerstone(self, secret: str, odd: bool) -> Letter:  # noqa: FBT001 - as above
        chance, plan = self._chance, self._plan
        nonce = next(self._nonces)
        headers = (("Content-Type", "application/json"), ("x-api-key", secret))
        if not odd and chance.random() < _BEAT_SHARE:
            body = b'{"records": [], "subscriptionId": "s-1", "beat": %d}' % nonce
            return Letter(plan.number, "", headers, body, beat=True)
        if odd and chance.random() < 0.5:
            body = b'{"records": %d, "subscriptionId": "s-1"}' % nonce
            return Letter(plan.number, "", headers, body, readable=False)
        items = [self._record() for _ in range(chance.randint(1, plan.batch_max))]
        if odd:
            place = chance.randrange(len(items))
            items[place] = self._record(contradicts=True)
        if self._records and chance.random() < plan.repeat_share:
            items.insert(chance.randrange(len(items)), chance.choice(self._records))
        if secret != _STRANGER:
            self._records = [*self._records[-20:], *(item for item in items if not item.contradicts)]
        body = b'{"records": [%b], "subscriptionId": "s-1", "n": %d}' % (b", ".join(i.data for i in items), nonce)
        return Letter(plan.number, "", headers, body, tuple(items))

    def _record(self, *, contradicts: bool = False) -> Meant:
        nonce = next(self._nonces)
        self._offset += 1
        name = self._chance.choice(_RECORDS)
        at = self._now_ms() - self._chance.randint(0, 5_000)
        value: dict[str, Any] = {"headers": {"messageId": f"m-{nonce}"}, "lmsEventsCase": name}
        if not contradicts:
            value[name[0].upper() + name[1:]] = {"of": nonce}
        record = {"n": nonce, "value": value, "offset": self._offset, "timestamp": _text(at), **self._filler()}
        return Meant(
            type=name,
            data=json.dumps(record).encode(),
            identity=f"id m-{nonce}",
            window_ms=_ID_WINDOW_MS,
            occurred_ms=at,
            contradicts=contradicts,
        )

    # -- callbacks that say only by their content what they are ------------------------------------

    def _connectwise(self, secret: str, odd: bool) -> Letter:  # noqa: FBT001 - as above
        """A stranger signs with a key of its own, or is another company."""
        chance = self._chance
        nonce, number = next(self._nonces), chance.randint(1, 3)
        kind = "company" if odd else chance.choice(_ENTITIES)
        at = self._now_ms()
        entity: dict[str, Any] = {"id": number, "_info": {"lastUpdated": _text(at)}}
        if kind == "ticket" or odd:
            entity["recordType"] = "ServiceTicket"
        path = f"/v4_6_release/callbackkey/{nonce}"
        stranger = secret == _STRANGER
        other_company = stranger and chance.random() < 0.5
        document = {
            "n": nonce,
            "Action": "paid",
            "CompanyId": secret if other_company or not stranger else SECRETS["connectwise"],
            "Entity": json.dumps(entity),
            "ID": number,
            "Type": kind,
            "Metadata": {"key_url": f"https://{KEY_HOST}{path}"},
            **self._filler(),
        }
        body = json.dumps(document).encode()
        key = _STRANGER if stranger and not other_company else key_at(path)
        digest = hmac.digest(hashlib.sha256(key.encode()).digest(), body, "sha256")
        headers = (
            ("Content-Type", "application/json"),
            ("x-content-signature", base64.b64encode(digest).decode()),
        )
        meant = Meant(
            type=f"{kind}.paid",
            data=body,
            identity=f"content {hashlib.sha256(body).hexdigest()}",
            window_ms=_CONTENT_WINDOW_MS,
            occurred_ms=at,
            ordering_key=f"{kind}/{number}",
            contradicts=odd,
        )
        return Letter(self._plan.number, f"?recordId={number}&action=paid", headers, body, (meant,))

    def _filler(self) -> dict[str, str]:
        return {"pad": self._chance.choice(("x", "é", " ", '"')) * self._chance.randint(0, _FILLER_MAX)}


def _text(ms: int) -> str:
    return datetime.fromtimestamp(ms // 1_000, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{ms % 1_000:03d}Z"
