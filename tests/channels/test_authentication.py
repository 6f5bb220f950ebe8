"""Who our mail server vouches for, and whose word about it is not taken."""

from __future__ import annotations

import pytest

from bels.channels.authentication import is_vouched_for, read_results

OURS = "mx.bels.example"

VOUCHED = {
    "dmarc": "mx.bels.example; dmarc=pass (p=reject sp=reject) header.from=mail.example",
    "rspamd, folded": "mx.bels.example;\r\n\tdkim=pass header.d=mail.example header.s=s1 header.b=AbC;\r\n"
    "\tspf=pass (mx: domain of a@mail.example designates 1.2.3.4) smtp.mailfrom=a@mail.example;\r\n"
    "\tdmarc=pass (policy=none) header.from=mail.example",
    "a version, quotes and capitals": 'MX.bels.example 1; DMARC=Pass reason="all \\"good\\"; really" header.from="Mail.Example"',
    "dkim of the domain, where dmarc is silent": "mx.bels.example; dkim=pass header.d=mail.example",
    "spf of the domain": "mx.bels.example; spf=pass smtp.mailfrom=bounce@mail.example",
    "blanks around the signs": "mx.bels.example ; dmarc = pass header.from = mail.example",
    "a comment in a comment": "mx.bels.example (a (b; dmarc=fail) c); dmarc=pass header.from=mail.example",
}
NOT_VOUCHED = {
    "nothing was checked": "mx.bels.example; none",
    "fail": "mx.bels.example; dmarc=fail header.from=mail.example",
    "dmarc fails although dkim passes": "mx.bels.example; dkim=pass header.d=mail.example; dmarc=fail header.from=mail.example",
    "dmarc of another domain": "mx.bels.example; dmarc=pass header.from=other.example",
    "dkim of another domain": "mx.bels.example; dkim=pass header.d=other.example; spf=pass smtp.mailfrom=a@other.example",
    "temporary trouble": "mx.bels.example; dmarc=temperror header.from=mail.example",
    "pass in a comment": "mx.bels.example; dmarc=none (dmarc=pass header.from=mail.example)",
    "pass in a reason": 'mx.bels.example; dmarc=none reason="; dmarc=pass header.from=mail.example"',
    "another server": "mx.evil.example; dmarc=pass header.from=mail.example",
    "our name in a comment": "mx.evil.example (mx.bels.example); dmarc=pass header.from=mail.example",
    "a name that begins as ours": "mx.bels.example.evil.example; dmarc=pass header.from=mail.example",
    "a comment that does not end": "mx.bels.example; dmarc=pass header.from=mail.example (",
    "a quote that does not end": 'mx.bels.example; dmarc=pass header.from=mail.example "',
    "empty": "",
    "no name": "dmarc=pass header.from=mail.example",
    "our name in quotes": '"mx\\.bels.example"; dmarc=pass header.from=mail.example',
    "endless": "mx.bels.example; dmarc=pass header.from=mail.example" + " " * 10_000,
}


@pytest.mark.parametrize("header", VOUCHED.values(), ids=VOUCHED.keys())
def test_our_mail_server_vouches_for_a_domain(header: str) -> None:
    assert is_vouched_for([header], OURS, "mail.example")


@pytest.mark.parametrize("header", NOT_VOUCHED.values(), ids=NOT_VOUCHED.keys())
def test_nobody_vouches_for_a_domain(header: str) -> None:
    assert not is_vouched_for([header], OURS, "mail.example")


def test_only_the_topmost_of_ours_counts() -> None:
    ours, forged = "mx.bels.example; dmarc=none", "mx.bels.example; dmarc=pass header.from=mail.example"

    assert not is_vouched_for([ours, forged], OURS, "mail.example")
    assert is_vouched_for(["mx.other.example; dmarc=fail", forged], OURS, "mail.example")


@pytest.mark.parametrize(
    "above", ["mx.bels.example; spf=fail smtp.mailfrom=a(b", "mx.bels.example; " + "x" * 9_000, ""]
)
def test_what_stands_below_one_that_cannot_be_read_counts_for_nothing(above: str) -> None:
    assert not is_vouched_for([above, VOUCHED["dmarc"]], OURS, "mail.example")


def test_without_a_name_of_our_own_or_a_sender_nobody_is_vouched_for() -> None:
    assert not is_vouched_for([VOUCHED["dmarc"]], None, "mail.example")
    assert not is_vouched_for(["; dmarc=pass"], "", "mail.example")
    assert not is_vouched_for([VOUCHED["dmarc"]], OURS, "")


def test_a_header_is_read_with_its_properties() -> None:
    read = read_results("mx.bels.example; dkim/1=pass (2048) header.d=mail.example header.i=@mail.example; auth=pass")

    assert read is not None
    assert read.authserv_id == OURS
    assert [(r.method, r.result) for r in read.results] == [("dkim", "pass"), ("auth", "pass")]
    assert read.results[0].properties == {"header.d": "mail.example", "header.i": "@mail.example"}
