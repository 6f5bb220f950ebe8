"""The commands that give and take credentials: `bels user`, `bels client`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any

from bels import statement
from bels.access import acts, clients, people
from bels.access.acts import Act
from bels.access.callers import GRANTS, LOCAL, SCOPES, STAFF, Kind
from bels.access.clients import CLIENTS_PAGE_MAX, ClientError
from bels.access.passwords import Passwords, new_password
from bels.access.people import PEOPLE_PAGE_MAX, LoginError, LoginTaken
from bels.command import DONE, PARTLY, CliError, ready, run, settings_given
from bels.domain.periods import MOSCOW
from bels.domain.terms import Channel
from bels.journal.write import Db

KEEP_HOURS = 24
KEEP_HOURS_MAX = clients.KEEP_S_MAX // 3600

USER_HELP = """\
Consumers and staff: operator, inspector, auditor, administrator. Whoever is added by a login gets a password, which is shown
once, alone on the standard output, and must be changed at the first log-in; everything else is said on the standard error.
Whoever comes from an OpenID provider (BELS_OIDC_ISSUER) is added by the provider's subject instead, and has no password here.

  bels user add operator --login ivanova --grant money > password.txt
"""

CLIENT_HELP = f"""\
Partners (banks, payment apps) and gateways (SMS, voice, mail, bots). A client's secret is shown once, alone on the standard output;
everything else is said on the standard error. A gateway IS its channel: whatever it sends came that way.

scopes of a partner: {", ".join(SCOPES)}

  bels client add partner "A bank" --scope payments:write > secret.txt
  bels client secret c-abcdefghijklmnop --keep-hours 24
"""


def add_user(command: Callable[..., Any]) -> None:
    """Add ``bels user`` with what can be done to one."""
    what = _parts(command("user", "Add, list and revoke consumers and staff", None, USER_HELP), "add|list|revoke")
    added = _part(what, "add", "Add a person", _add_user)
    added.add_argument("kind", choices=_words(people.CHANNELS), help="what it is")
    added.add_argument("--login", help="an e-mail, a mobile phone or a name; a password is made for it")
    added.add_argument(
        "--grant", action="append", default=[], choices=sorted(GRANTS), help="what an operator may besides"
    )
    added.add_argument("--oidc-subject", metavar="SUBJECT", help="who it is at the OpenID provider")
    listed = _part(what, "list", "List staff, or the people of one kind", _list_users)
    listed.add_argument("--kind", choices=_words(people.CHANNELS), help="(default: all staff)")
    revoked = _part(what, "revoke", "Revoke a person with all its sessions, at once", _revoke_user)
    revoked.add_argument("person", metavar="PERSON", help="u-..., as the list says it")
    revoked.add_argument("--reason", help="why; it is kept")


def add_client(command: Callable[..., Any]) -> None:
    """Add ``bels client`` with what can be done to one."""
    what = _parts(
        command("client", "Add, list and revoke partners and gateways", None, CLIENT_HELP), "add|list|secret|revoke"
    )
    added = _part(what, "add", "Add a partner or a gateway", _add_client)
    added.add_argument("kind", choices=_words(clients.CHANNELS), help="what it is")
    added.add_argument("name", metavar="NAME", help="what people call it")
    channels = [channel.value for allowed in clients.CHANNELS.values() for channel in allowed]
    added.add_argument("--channel", choices=channels, help="which it is (a partner: bank)")
    added.add_argument("--scope", action="append", default=[], choices=list(SCOPES), help="what a partner may")
    added.add_argument("--certificate", metavar="SHA256HEX", help="of its TLS certificate: it must then show it")
    _part(what, "list", "List partners and gateways", _list_clients)
    changed = _part(what, "secret", "Give a client a new secret; the old one holds on", _change_secret)
    changed.add_argument("client", metavar="CLIENT", help="c-..., as the list says it")
    changed.add_argument(
        "--keep-hours",
        type=_hours,
        default=KEEP_HOURS,
        metavar="HOURS",
        help=f"how long the old secret holds on (default {KEEP_HOURS}, at most {KEEP_HOURS_MAX}; 0: not at all)",
    )
    revoked = _part(what, "revoke", "Revoke a client, at once", _revoke_client)
    revoked.add_argument("client", metavar="CLIENT", help="c-..., as the list says it")
    revoked.add_argument("--reason", help="why; it is kept")


def _parts(parser: Any, metavar: str) -> Any:
    return parser.add_subparsers(title="what to do", metavar=metavar, required=True)


def _part(what: Any, name: str, summary: str, run: Callable[[argparse.Namespace], int]) -> Any:
    added = what.add_parser(name, help=summary, description=f"{summary}.")
    added.set_defaults(run=run)
    return added


def _words(kinds: dict[Kind, Any]) -> list[str]:
    return [kind.value.lower() for kind in kinds]


def _hours(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and int(text) <= KEEP_HOURS_MAX):
        raise argparse.ArgumentTypeError(f"{text[:20]!r} is not a whole number from 0 to {KEEP_HOURS_MAX}")
    return int(text)


def _told(sentence: str) -> None:
    # The standard output is the secret's, or the list's, so that a script can take it.
    print(sentence, file=sys.stderr)


def _add_user(arguments: argparse.Namespace) -> int:
    kind, login, subject = Kind(arguments.kind.upper()), arguments.login, arguments.oidc_subject
    settings = settings_given()
    if login is None and subject is None:
        raise CliError("say how the person comes in: --login, or --oidc-subject where there is an OpenID provider")
    if arguments.grant and kind is not Kind.OPERATOR:
        raise CliError(f"grants are an operator's: {arguments.kind} has none")
    if subject is not None and settings.oidc_issuer is None:
        raise CliError("--oidc-subject needs the provider's address: set BELS_OIDC_ISSUER")
    oidc = (settings.oidc_issuer, subject) if subject is not None and settings.oidc_issuer is not None else None
    password = new_password() if login is not None else None

    async def adding() -> int:
        async with ready(settings) as bels:
            password_hash = await _hashed(password) if password is not None else None
            async with bels.pool.acquire() as db, db.transaction():
                try:
                    person = await people.add_person(
                        db,
                        bels.vault,
                        kind,
                        login=login,
                        password_hash=password_hash,
                        grants=tuple(sorted(set(arguments.grant))),
                        oidc=oidc,
                        must_change=password is not None,
                    )
                except LoginError as error:
                    raise CliError(
                        "this cannot be a login: an e-mail (ivanova@example.ru), a mobile phone (+79031234567) or a name (ivanova)"
                    ) from error
                except LoginTaken as error:
                    raise CliError("somebody has this login or this subject already: bels user list") from error
                await acts.record(db, Act.USER_ADDED, by=LOCAL.subject, subject=person)
        _told(f"Added: {arguments.kind} {person}.")
        if password is not None:
            _told("Its password is shown once, and must be changed at the first log-in:")
            print(password)
        return DONE

    return run(adding())


async def _hashed(password: str) -> str:
    passwords = Passwords()
    try:
        return await passwords.hash(password)
    finally:
        passwords.close()


def _list_users(arguments: argparse.Namespace) -> int:
    kinds = [Kind(arguments.kind.upper())] if arguments.kind is not None else sorted(STAFF)

    async def listing() -> int:
        rows = [("person", "kind", "grants", "login", "added", "revoked")]
        async with ready(settings_given()) as bels, bels.pool.acquire() as db:
            for kind in kinds:
                after = ""
                while page := await people.list_people(db, after, PEOPLE_PAGE_MAX, kind):
                    logins = await people.login_texts(db, bels.vault, [each.person for each in page])
                    rows += [
                        (
                            each.person,
                            each.kind.value.lower(),
                            " ".join(each.grants) or "-",
                            logins.get(each.person, "-"),
                            _day(each.created_at),
                            _day(each.revoked_at),
                        )
                        for each in page
                    ]
                    after = page[-1].person
        print("\n".join(statement.table(rows, "<<<<<<")))
        return DONE

    return run(listing())


def _revoke_user(arguments: argparse.Namespace) -> int:
    person = arguments.person

    async def revoking() -> int:
        async with ready(settings_given()) as bels, bels.pool.acquire() as db:
            if await people.find_person(db, person) is None:
                raise CliError(f"there is no person {person[:40]!r}: bels user list", PARTLY)
            revoked = await people.revoke_person(
                db, person, now=bels.intake.clock(), by=LOCAL.subject, reason=arguments.reason
            )
        _told(f"Revoked: {person}." if revoked else f"{person} was revoked before.")
        return DONE

    return run(revoking())


def _add_client(arguments: argparse.Namespace) -> int:
    kind = Kind(arguments.kind.upper())
    if arguments.channel is None and kind is Kind.GATEWAY:
        channels = ", ".join(channel.value for channel in clients.CHANNELS[kind])
        raise CliError(f"a gateway is its channel: say which with --channel ({channels})")
    channel = Channel(arguments.channel) if arguments.channel is not None else Channel.BANK

    async def adding() -> int:
        async with ready(settings_given()) as bels, bels.pool.acquire() as db:
            client, secret = await clients.add_client(
                db,
                bels.vault,
                kind,
                arguments.name,
                channel,
                tuple(arguments.scope),
                arguments.certificate,
                by=LOCAL.subject,
            )
        _told(f"Added: {arguments.kind} {client}, channel {channel.value}.")
        _told("Its secret is shown once:")
        print(secret)
        return DONE

    return run(_understood(adding()))


def _list_clients(arguments: argparse.Namespace) -> int:
    async def listing() -> int:
        rows = [("client", "kind", "channel", "scopes", "certificate", "added", "revoked", "name")]
        async with ready(settings_given()) as bels, bels.pool.acquire() as db:
            after = ""
            while page := await clients.list_clients(db, after, CLIENTS_PAGE_MAX):
                rows += [
                    (
                        each.client,
                        each.kind.value.lower(),
                        each.channel.value,
                        " ".join(each.scopes) or "-",
                        f"{each.certificate[:16]}..." if each.certificate is not None else "-",
                        _day(each.created_at),
                        _day(each.revoked_at),
                        each.name,
                    )
                    for each in page
                ]
                after = page[-1].client
        print("\n".join(statement.table(rows, "<<<<<<<<")))
        return DONE

    return run(listing())


def _change_secret(arguments: argparse.Namespace) -> int:
    hours = arguments.keep_hours

    async def changing() -> int:
        async with ready(settings_given()) as bels, bels.pool.acquire() as db:
            await _must_be_client(db, arguments.client)
            secret = await clients.change_secret(
                db, bels.vault, arguments.client, hours * 3600, now=bels.intake.clock(), by=LOCAL.subject
            )
        _told(
            f"The old secret of {arguments.client} holds on for {hours} hours." if hours else "The old secret is void."
        )
        _told("The new one is shown once:")
        print(secret)
        return DONE

    return run(_understood(changing()))


def _revoke_client(arguments: argparse.Namespace) -> int:
    client = arguments.client

    async def revoking() -> int:
        async with ready(settings_given()) as bels, bels.pool.acquire() as db:
            await _must_be_client(db, client)
            revoked = await clients.revoke_client(
                db, client, now=bels.intake.clock(), by=LOCAL.subject, reason=arguments.reason
            )
        _told(f"Revoked: {client}." if revoked else f"{client} was revoked before.")
        return DONE

    return run(revoking())


async def _understood(work: Coroutine[Any, Any, int]) -> int:
    try:
        return await work
    except ClientError as error:
        raise CliError(str(error)) from error


async def _must_be_client(db: Db, client: str) -> None:
    if await clients.find_client(db, client) is None:
        raise CliError(f"there is no client {client[:40]!r}: bels client list", PARTLY)


def _day(at: datetime | None) -> str:
    return f"{at.astimezone(MOSCOW):%Y-%m-%d}" if at is not None else "-"
