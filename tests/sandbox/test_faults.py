"""Faults on demand, and what is read of a request to know it again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime

from bels.domain.terms import Channel
from bels.messages import Message, Outcome, Status, TryLater
from bels.payments.sandbox import Failing, Fault
from bels.sandbox.faults import ASKED_MAX, Faults
from bels.sandbox.requests import OWN, Sent, code_of, read_request

PAY = "mutation($input: PayWithReadingInput!) { payWithReading(input: $input) { __typename } }"
INPUT = {"paymentId": "7", "account": "1000001", "amount": "200.00"}


def graphql(query: str, **variables: object) -> Sent:
    """Read a GraphQL request."""
    body = json.dumps({"query": query, "variables": variables}).encode()
    return read_request("POST", "/graphql", b"", b"application/json", body)


def message(request_id: str) -> Message:
    """Make a message of a request."""
    return Message(Channel.BANK, f"c-1/{request_id}", "partner:c-1", "1000001", None, "{}", request_id)  # type: ignore[arg-type]  # nothing reads it


async def well(messages: Sequence[Message]) -> Sequence[Outcome | Exception]:
    """Handle messages as if all were well."""
    now = datetime(2026, 5, 20, tzinfo=UTC)
    return [Outcome(each.request_id, Status.ACCEPTED, each.account, (), 1, now) for each in messages]


def test_as_many_requests_fail_as_were_asked_to_and_then_all_is_well() -> None:
    faults = Faults()
    faults.ask("c-1", Failing(Fault.SLOW, count=2))

    met = [faults.next_of("c-1") for _ in range(3)]

    assert [failing and failing.fault for failing in met] == [Fault.SLOW, Fault.SLOW, None]
    assert faults.next_of("c-2") is None


def test_the_same_seed_draws_the_same_share_of_requests() -> None:
    def drawn(seed: int) -> list[bool]:
        faults = Faults()
        faults.ask("c-1", Failing(Fault.TRY_LATER, count=100, share=30, seed=seed))
        return [faults.next_of("c-1") is not None for _ in range(100)]

    assert drawn(7) == drawn(7)
    assert drawn(7) != drawn(8)
    assert 15 <= sum(drawn(7)) <= 45


def test_a_fault_of_webhooks_waits_for_a_webhook() -> None:
    faults = Faults()
    faults.ask("c-1", Failing(Fault.DUPLICATE_WEBHOOK))
    faults.ask("c-1", Failing(Fault.PARKED))

    failing = faults.next_of("c-1")

    assert failing is not None
    assert failing.fault is Fault.PARKED
    assert faults.wants_webhook("c-1")
    assert faults.next_webhook_of("c-1")
    assert not faults.wants_webhook("c-1")


def test_of_a_command_that_is_none_no_word_is_kept() -> None:
    told = read_request("GET", "/partners/osmp", b"command=pay%0Aivanov@example.org&account=1000001", b"", b"")

    assert told.operations == ("GET /partners/osmp",)
    assert read_request("GET", "/partners/osmp", b"command=PAY&txn_id=7", b"", b"").operations == ("osmp:pay",)


def test_no_more_than_so_many_orders_wait() -> None:
    faults = Faults()

    asked = [faults.ask("c-1", Failing(Fault.SLOW)) for _ in range(ASKED_MAX + 1)]

    assert (asked.count(True), asked[-1]) == (ASKED_MAX, False)


async def test_a_message_that_is_meant_to_fail_fails_alone() -> None:
    faults = Faults()
    work = faults.around(well)
    faults.mean("second", Fault.TRY_LATER)

    outcomes = await work([message("first"), message("second"), message("third")])
    faults.done("second")
    again = await work([message("second")])

    assert [getattr(outcome, "receipt", type(outcome)) for outcome in outcomes] == ["first", TryLater, "third"]
    assert [getattr(outcome, "receipt", None) for outcome in again] == ["second"]


def test_a_payment_is_known_by_its_id_its_account_and_its_content() -> None:
    sent = graphql(PAY, input=INPUT)
    same = graphql(
        PAY.replace("__typename", "__typename ... on PaymentTaken { receipt }"), input=dict(sorted(INPUT.items()))
    )
    other = graphql(PAY, input={**INPUT, "amount": "300.00"})

    assert (sent.operations, sent.is_act, sent.account, sent.payment_id) == (("payWithReading",), True, "1000001", "7")
    assert sent.content == same.content != other.content


def test_what_stands_in_the_document_itself_is_read_too() -> None:
    written = graphql('mutation { payWithReading(input: {paymentId: "7", account: "1000001"}) { __typename } }')
    asked = graphql("query($id: ID!) { partnerPayment(paymentId: $id) { state } }", id="7")

    assert (written.payment_id, written.account) == ("7", "1000001")
    assert (asked.payment_id, asked.is_act) == ("7", False)


def test_requests_of_every_protocol_are_read() -> None:
    paying = b"command=pay&txn_id=7&account=1000001&sum=200.00"
    osmp = read_request("GET", "/partners/osmp", paying, b"", b"")
    eps = read_request("GET", "/partners/sber-eps", b"ACTION=payment&ACCOUNT=1000001&PAY_ID=8&AMOUNT=1", b"", b"")
    check = read_request("POST", "/partners/osmp", b"", b"application/x-www-form-urlencoded", b"command=check&txn_id=7")

    assert (osmp.operations, osmp.is_act, osmp.account, osmp.payment_id) == (("osmp:pay",), True, "1000001", "7")
    assert (eps.operations, eps.is_act, eps.payment_id) == (("eps:payment",), True, "8")
    assert (check.operations, check.is_act) == (("osmp:check",), False)


def test_the_sandboxs_own_fields_never_fail() -> None:
    sent = graphql("mutation($input: FailNextInput!) { failNext(input: $input) { __typename } }", input={})

    assert not sent.is_act
    assert OWN.issuperset(sent.operations)


def test_what_cannot_be_read_is_known_by_its_digest_alone() -> None:
    for body in (b"", b"[]", b"5", b"{", b'{"query": 5}', b'{"query": "{"}', b'{"query": "{ a }", "variables": 5}'):
        sent = read_request("POST", "/graphql", b"", b"application/json", body)
        assert not sent.is_act
        assert sent.payment_id is None


def test_the_code_of_an_answer_is_found_in_every_protocol() -> None:
    assert code_of(b'{"data": {"payWithReading": {"code": "AMOUNT_TOO_SMALL"}}}') == "AMOUNT_TOO_SMALL"
    assert code_of(b"<response><osmp_txn_id>7</osmp_txn_id><result>300</result></response>") == "300"
    assert code_of(b"<response><CODE>8</CODE></response>") == "8"
    assert code_of(b'{"data": {"a": 1}}') is None
