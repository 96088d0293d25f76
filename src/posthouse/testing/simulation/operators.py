"""Operators: they create endpoints and change them, retry and cancel deliveries, and look at the books."""

import asyncio
import json
from collections import defaultdict
from collections.abc import Callable
from random import Random
from typing import Any, Final
from urllib.parse import quote

import msgspec

from posthouse.core.ids import ENDPOINT, EVENT, parse_delivery_id, parse_id
from posthouse.core.model import EndpointState
from posthouse.core.ports import Clock
from posthouse.core.rules import DEFAULT_RULES, Rules
from posthouse.core.signature import generate_secret
from posthouse.testing.simulation.api_client import ApiClient
from posthouse.testing.simulation.plan import Act, JobPlan, Plan, TenantPlan, Verb, generator
from posthouse.testing.simulation.pressure import ORDERS, RATES
from posthouse.testing.simulation.records import (
    Call,
    Change,
    DeliveryCall,
    EndpointCall,
    EndpointRecord,
    JobRecord,
    Outcome,
    Records,
    SecretRecord,
    TenantCall,
)

_NOT_FOUND: Final = 404
_PATTERNS: Final = (["*"], ["order.*"], ["order.paid", "misc"], ["user.*"], ["order.*", "user.*"])


class Operators:
    """All who manage the node. Each endpoint has one operator at a time.

    Args:
        plan: what they do.
        api: sends and writes down.
        records: get everything.
        clock: the node's.
        over: whether the history is over, so that nobody tries again.
    """

    def __init__(
        self, plan: Plan, api: Callable[[], ApiClient], records: Records, clock: Clock, over: Callable[[], bool]
    ) -> None:
        self._plan = plan
        self._clock = clock
        self._api = api()
        self._auditor = api()
        self._records = records
        self._over = over
        self._chance: Random = generator(plan.seed, "operators")
        self._rule_chance: Random = generator(plan.seed, "rules of operators")
        self._locks: dict[int, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._acts = 0
        self._drained: str | None = None  # the latest job that lets go on what is parked

    async def create(self, number: int) -> None:
        """Create an endpoint of the plan; returns when it is there."""
        planned = self._plan.endpoints[number]
        secret = generate_secret(self._chance.randbytes(32)) if planned.own_secret else None
        document: dict[str, Any] = {
            "url": planned.url(self._plan.hosts[planned.host]),
            "events": list(planned.events),
            "tenant": planned.tenant,
            "retry": planned.retry,
            "timeout_ms": planned.timeout_ms,
            "connect_timeout_ms": planned.connect_timeout_ms,
            "headers": {"X-Endpoint": str(number)},
            **_fields(planned.rules),
        }
        if secret is not None:
            document["secret"] = secret
        record = EndpointRecord(number, planned.host, planned.tenant, planned.timeout_ms, planned.retry)
        record.secrets_complete = secret is not None
        record.rules = planned.rules
        self._records.endpoints.append(record)
        async with self._locks[number]:
            if secret is not None:
                record.secrets.append(SecretRecord(secret, asyncio.get_running_loop().time()))
            call = await self._insist(
                "POST",
                "/v1/endpoints",
                document,
                record,
                Change.CREATE,
                value=tuple(planned.events),
                key=f"create {number}",
            )
        if call.outcome is Outcome.DONE:
            record.id = call.answer["id"]
            record.key = parse_id(ENDPOINT, call.answer["id"])
            if secret is None and call.answer["secret"] is not None:
                record.secrets.append(SecretRecord(call.answer["secret"], record.calls[0].call.sent_at))
                record.secrets_complete = True
            for known in record.secrets:
                known.sure_at = call.ended_at

    async def act(self, act: Act) -> None:
        """Do one thing of the plan."""
        self._acts += 1
        number = self._acts
        if act.verb is Verb.AUDIT:
            await self._audit()
        elif act.verb is Verb.LOOK:
            await self._look()
        elif act.verb in {Verb.RETRY, Verb.CANCEL}:
            await self._step_in(act.verb.value)
        else:
            record = next((r for r in self._records.endpoints if r.number == act.endpoint and r.id is not None), None)
            if record is not None:
                async with self._locks[record.number]:
                    await self._change(act.verb, record, number)

    async def resume_if_held(self, record: EndpointRecord) -> None:
        """Let an endpoint deliver again, if it does not; nothing is said to those that do."""
        shown = await self._api.ask("GET", f"/v1/endpoints/{record.id}", patience=10.0)
        if shown.outcome is Outcome.DONE and shown.answer["state"] != EndpointState.ACTIVE:
            await self.resume(record)

    async def resume(self, record: EndpointRecord) -> Call:
        """Let an endpoint deliver again."""
        async with self._locks[record.number]:
            return await self._change_state(record, "resume", EndpointState.ACTIVE)

    async def hold(self, record: EndpointRecord) -> Call:
        """Pause an endpoint."""
        async with self._locks[record.number]:
            return await self._change_state(record, "pause", EndpointState.PAUSED)

    # -- endpoints ------------------------------------------------------------------------------

    async def _change(self, verb: Verb, record: EndpointRecord, number: int) -> None:
        path = f"/v1/endpoints/{record.id}"
        match verb:
            case Verb.PAUSE:
                await self._change_state(record, "pause", EndpointState.PAUSED)
            case Verb.RESUME:
                await self._change_state(record, "resume", EndpointState.ACTIVE)
            case Verb.SUBSCRIBE:
                events = self._chance.choice(_PATTERNS)
                await self._insist("PATCH", path, {"events": events}, record, Change.SUBSCRIBE, value=tuple(events))
            case Verb.LIMIT:
                described = {"description": f"changed {number}"}
                await self._insist("PATCH", path, described, record, Change.OTHER)
            case Verb.ORDER:
                order = self._rule_chance.choice(ORDERS)
                block = DEFAULT_RULES.block_seconds  # another one needs an order that blocks
                change: dict[str, Any] = {"order": order, "block_seconds": block}
                await self._insist("PATCH", path, change, record, Change.ORDER, value=order)
            case Verb.RATE:
                rate = self._rule_chance.choice(RATES)
                await self._insist("PATCH", path, {"rate": rate}, record, Change.RATE, value=rate)
            case Verb.ROTATE:
                await self._rotate(record, number)
            case Verb.DELETE:
                if self._chance.random() < 0.5:
                    await self._insist("DELETE", path, None, record, Change.DELETE)
            case _:
                await self._insist("POST", f"{path}/test", None, record, Change.OTHER, key=f"test {number}")

    async def _change_state(self, record: EndpointRecord, verb: str, state: EndpointState) -> Call:
        return await self._insist("POST", f"/v1/endpoints/{record.id}/{verb}", None, record, Change.STATE, value=state)

    async def _rotate(self, record: EndpointRecord, number: int) -> None:
        overlap_ms = self._chance.choice((0, 2_000, 20_000, 3_600_000))
        secret = generate_secret(self._chance.randbytes(32))
        new = SecretRecord(secret, asyncio.get_running_loop().time())
        record.secrets.append(new)
        began_ms = self._clock.now_ms()
        call = await self._insist(
            "POST",
            f"/v1/endpoints/{record.id}/rotate-secret",
            {"secret": secret, "overlap_ms": overlap_ms},
            record,
            Change.ROTATE,
            value=(secret, overlap_ms),
            key=f"rotate {number}",
        )
        if call.outcome is Outcome.DONE:
            new.sure_at = call.ended_at
            ends_ms = max(began_ms, self._clock.now_ms()) + overlap_ms
            for old in record.secrets:
                if old is not new:
                    old.until_ms = ends_ms if old.until_ms is None else min(old.until_ms, ends_ms)
                    old.until_asked_at = call.ended_at or 0.0

    async def _insist(
        self,
        method: str,
        path: str,
        document: Any,
        record: EndpointRecord,
        change: Change,
        *,
        value: Any = None,
        key: str | None = None,
    ) -> Call:
        """Ask until there is a clear answer. Each request is a possible change of its own."""
        backoff = 0.2
        while True:
            call = self._api.begin(method, path, _encoded(document), key=key)
            record.calls.append(EndpointCall(change, value, call))
            await self._api.finish(call, patience=self._chance.choice((2.0, 5.0, 10.0)))
            clear = call.outcome is Outcome.DONE or (
                call.outcome is Outcome.REFUSED and call.status not in {401, 429, 503}
            )
            if clear or self._over():
                return call
            await asyncio.sleep(backoff)
            backoff = min(2 * backoff, 2.0)

    # -- tenants and jobs -----------------------------------------------------------------------

    async def rule_tenant(self, planned: TenantPlan) -> None:
        """Give a tenant its rules; those that it had before are gone."""
        rules = {name: getattr(planned.rules, name) for name in planned.rules.__struct_fields__}
        make = False
        while not self._over():
            if make:
                call = self._api.begin("POST", "/v1/tenants", _encoded({"id": planned.tenant, **rules}))
            else:
                call = self._api.begin("PATCH", f"/v1/tenants/{planned.tenant}", _encoded(rules))
            self._records.tenant_calls.append(TenantCall(planned.tenant, rules, call))
            await self._api.finish(call, patience=5.0)
            if call.outcome is Outcome.DONE:
                return
            make = call.status == _NOT_FOUND
            await asyncio.sleep(0.5)

    async def run_job(self, planned: JobPlan) -> None:
        """Start a job, and decide about it as planned."""
        record = JobRecord(planned)
        where: dict[str, Any] = {"tenant": planned.tenant, "states": list(planned.states)}
        if planned.endpoint is not None:
            where["endpoint"] = next((r.id for r in self._records.endpoints if r.number == planned.endpoint), None)
            if where["endpoint"] is None:
                return
        wanted = {name: value for name, value in where.items() if value}
        document = {
            "kind": planned.kind,
            "filter": wanted,
            "mode": planned.mode,
            "dry_run": planned.dry_run,
            "rate": planned.rate,
            "all": not wanted,
        }
        self._records.jobs.append(record)
        made = await self._decide(record.calls, "/v1/jobs", document, key=f"job {planned.number}")
        if made is None:
            return
        record.id = made["id"]
        self._records.counts[f"job {planned.kind}"] += 1
        if planned.paused_for is not None:
            await self._decide([], f"/v1/jobs/{record.id}/pause")
            await asyncio.sleep(planned.paused_for)
            await self._decide([], f"/v1/jobs/{record.id}/resume")
        if planned.cancelled_after is not None:
            await asyncio.sleep(planned.cancelled_after)
            await self._decide(record.cancels, f"/v1/jobs/{record.id}/cancel")

    async def finish_jobs(self) -> bool:
        """Let every job come to its end, and what is parked go on; whether there is nothing left of either."""
        for state in ("paused", "running"):
            found = await self._api.ask("GET", f"/v1/jobs?state={state}", patience=10.0)
            if found.outcome is not Outcome.DONE:
                return False
            for shown in found.answer["data"]:
                if state == "paused":
                    await self._api.ask("POST", f"/v1/jobs/{shown['id']}/resume", patience=10.0)
                elif shown["rate"] is not None:
                    await self._api.ask("PATCH", f"/v1/jobs/{shown['id']}", {"rate": None}, patience=10.0)
            if found.answer["data"]:
                return False
        if self._drained is not None:
            shown = await self._api.ask("GET", f"/v1/jobs/{self._drained}", patience=10.0)
            if shown.outcome is Outcome.DONE and shown.answer["state"] == "completed" and not shown.answer["total"]:
                return True
        call = await self._api.ask("POST", "/v1/jobs", {"kind": "drain", "all": True}, patience=10.0)
        if call.outcome is Outcome.DONE:
            self._drained = call.answer["id"]
        return False

    async def _decide(self, calls: list[Call], path: str, document: Any = None, *, key: str | None = None) -> Any:
        """Ask until there is a clear answer; None if it is a refusal, or the history is over."""
        while True:
            call = self._api.begin("POST", path, _encoded(document), key=key)
            calls.append(call)
            await self._api.finish(call, patience=5.0)
            if call.outcome is Outcome.DONE:
                return call.answer
            if self._over() or (call.outcome is Outcome.REFUSED and call.status not in {401, 429, 503}):
                return None
            await asyncio.sleep(0.5)

    # -- deliveries -----------------------------------------------------------------------------

    async def _step_in(self, verb: str) -> None:
        """Retry or cancel one of the latest deliveries."""
        status = self._chance.choice(
            ("", "&status=waiting", "&status=delivered", "&status=retrying", "&status=exhausted")
        )
        found = await self._api.ask("GET", f"/v1/deliveries?limit=20{status}")
        if found.outcome is not Outcome.DONE or not found.answer["data"]:
            return
        wanted = status.partition("=")[2]
        if wanted and any(shown["status"] != wanted for shown in found.answer["data"]):
            self._records.find("I2 loss", f"a list of {wanted} deliveries shows others", found.ended_at)
        shown = self._chance.choice(found.answer["data"])
        keys = parse_delivery_id(shown["id"])
        assert keys is not None
        verbs = ("cancel", "retry") if self._chance.random() < 0.4 else (verb,)
        for step in verbs:
            call = self._api.begin("POST", f"/v1/deliveries/{shown['id']}/{step}", key=f"{step} {self._acts}")
            self._records.delivery_calls.append(DeliveryCall(step, keys, call))
            await self._api.finish(call, patience=5.0)

    # -- reading --------------------------------------------------------------------------------

    async def _audit(self) -> None:
        call = await self._auditor.ask("GET", "/v1/audit", patience=10.0)
        if call.outcome is Outcome.DONE:
            self._records.counts["audits"] += 1
            if call.answer["imbalance"]:
                self._records.find("I1 conservation", f"the audit shows {call.answer}", call.ended_at)

    async def _look(self) -> None:
        """Whatever was acknowledged can be read at once."""
        known = [answer for p in self._records.publications[-60:] for _, answer in p.answers() if p.id is None]
        if not known:
            return
        event_id = self._chance.choice(known)["id"]
        assert parse_id(EVENT, event_id) is not None
        call = await self._api.ask("GET", f"/v1/events/{quote(event_id)}")
        if call.outcome is Outcome.REFUSED and call.status == 404:
            self._records.find("I2 loss", f"{event_id} was acknowledged and is not found", call.ended_at)


def _fields(rules: Rules) -> dict[str, Any]:
    """The rules of an endpoint as its creator writes them."""
    fields: dict[str, Any] = msgspec.to_builtins(rules)
    if rules.transform is not None:
        fields["transform"] = json.loads(rules.transform)
    return fields


def _encoded(document: Any) -> bytes:
    return b"" if document is None else json.dumps(document).encode()
