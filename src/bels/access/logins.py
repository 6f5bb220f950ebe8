"""Logging in and out, and passwords: changed by whoever knows the one before, reset only by an operator at the office."""

from __future__ import annotations

from dataclasses import dataclass, field

from bels.access import acts, sessions
from bels.access.acts import Act
from bels.access.callers import Kind
from bels.access.cards import Removed, remove_cards
from bels.access.desk import Desk, tried
from bels.access.documents import IDENTITY, Document, is_note
from bels.access.passwords import Busy, PasswordError, new_password
from bels.access.people import (
    LOGIN_LENGTH_MAX,
    LoginError,
    PersonRow,
    find_by_login,
    find_person,
    login_text,
    normalised_login,
    set_password,
)
from bels.access.store import tell_change
from bels.access.throttle import TooManyAttempts
from bels.access.tokens import Grant
from bels.access.words import AccessReason, Refused
from bels.domain.periods import moscow_date

NOT_NEW = "Новый пароль повторяет прежний."


@dataclass(frozen=True, slots=True)
class Reset:
    """A password that was reset; the new one is told this once and must be changed at the first log-in."""

    person: str
    password: str = field(repr=False)
    sessions: int
    cards: int


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A person that has a session: the tokens are told this once; with ``must_change`` they only let the password be changed."""

    person: str
    session: str
    access_token: str = field(repr=False)
    expires_in_s: int
    refresh_token: str = field(repr=False)
    must_change: bool


async def log_in(desk: Desk, login: str, password: str, *, address: str) -> PersonRow | Refused:
    """Find whose login and password these are; unknown and wrong are answered alike, in the same time.

    :raises Busy: too many log in at once.
    """
    if not desk.own_people:
        return Refused(AccessReason.NO_PASSWORD)
    try:
        async with tried(desk, address, ("login", _identity(login))) as attempt:
            async with desk.pool.acquire() as db:
                found = await find_by_login(db, desk.vault, login)
            living = found if found is not None and found.revoked_at is None else None
            attempt.right = await desk.passwords.verify(living.password if living else None, password)
            if not attempt.right or living is None or living.password is None:
                return Refused(AccessReason.WRONG_CREDENTIALS)
    except TooManyAttempts as many:
        return Refused(AccessReason.TOO_MANY_ATTEMPTS, many.wait_s)
    if desk.passwords.needs_rehash(living.password):
        await _rehash(desk, living, password)
    return living


async def sign_in(desk: Desk, person: PersonRow) -> SignedIn:
    """Begin a session of a person who has just proved to be it."""
    async with desk.pool.acquire() as db:
        begun = await sessions.begin(db, desk.vault, person.person, desk.intake.clock())
    return await _signed(desk, person, begun.session, begun.refresh_token)


async def renew(desk: Desk, refresh_token: str) -> SignedIn | Refused:
    """Continue a session by its refresh token, which is replaced."""
    if not desk.own_people:
        return Refused(AccessReason.NO_PASSWORD)
    async with desk.pool.acquire() as db:
        renewed = await sessions.renew(db, desk.vault, refresh_token, desk.intake.clock())
        found = await find_person(db, renewed.person) if isinstance(renewed, sessions.Renewed) else None
    if found is None or not isinstance(renewed, sessions.Renewed):
        return Refused(AccessReason.SESSION_ENDED)
    return await _signed(desk, found, renewed.session, renewed.refresh_token)


async def log_out(desk: Desk, person: str, session: str, *, request_id: str = "") -> Refused | None:
    """End a session of a person: the one it speaks in, or another one. None: done."""
    async with desk.pool.acquire() as db, db.transaction():
        if await sessions.revoke(db, session, sessions.Ended.LOGGED_OUT, person=person) is None:
            return Refused(AccessReason.UNKNOWN_SESSION)
        reason = sessions.Ended.LOGGED_OUT.value
        await acts.record(
            db, Act.SESSION_REVOKED, by=person, subject=person, reason=f"{reason} {session}", request_id=request_id
        )
    return None


async def _signed(desk: Desk, person: PersonRow, session: str, refresh_token: str) -> SignedIn:
    grant = Grant(kind=person.kind, subject=person.person, given=person.grants, session=session)
    token, expires_in_s = await desk.tokens.issue(grant)
    return SignedIn(person.person, session, token, expires_in_s, refresh_token, person.must_change)


async def reset_password(
    desk: Desk, person: str, document: Document, reason: str, *, by: str, request_id: str = ""
) -> Reset | Refused:
    """Reset a consumer's forgotten password, at the office: all its sessions and card bindings go with it.

    Only a consumer's: whoever serves at a counter cannot make himself an administrator.

    :raises Busy: too many log in at once.
    """
    now = desk.intake.clock()
    noted = document.noted(IDENTITY, moscow_date(now))
    if noted is None:
        return Refused(AccessReason.BAD_DOCUMENT)
    if not is_note(reason):
        return Refused(AccessReason.BAD_NOTE)
    password = new_password()
    hashed = await desk.passwords.hash(password)
    async with desk.pool.acquire() as db, db.transaction():
        found = await find_person(db, person)
        if found is None or found.kind is not Kind.CONSUMER or found.revoked_at is not None:
            return Refused(AccessReason.UNKNOWN_PERSON)
        if found.password is None:
            return Refused(AccessReason.NO_PASSWORD)
        login = await login_text(db, desk.vault, person)
        await set_password(db, person, hashed, must_change=True)
        ended = await sessions.revoke_all(db, person, Act.PASSWORD_RESET)
        why = Removed.PASSWORD_RESET
        cards = await remove_cards(db, person=person, why=why, by=by, now=now, request_id=request_id)
        await acts.record(
            db, Act.PASSWORD_RESET, by=by, subject=person, reason=reason, document=noted, request_id=request_id
        )
        await tell_change(db, person)
    # Whoever stands at the counter does not wait for what others have guessed.
    await desk.throttle.forgive("password", person)
    if login is not None:
        await desk.throttle.forgive("login", login)
    return Reset(person, password, ended, cards)


async def change_password(
    desk: Desk, person: str, old: str, new: str, *, address: str, request_id: str = ""
) -> Refused | None:
    """Change one's password, by the one before; every session ends, and whoever changed it logs in anew. None: done.

    :raises Busy: too many log in at once.
    """
    async with desk.pool.acquire() as db:
        found = await find_person(db, person)
        login = await login_text(db, desk.vault, person)
    if found is None or found.revoked_at is not None:
        return Refused(AccessReason.UNKNOWN_PERSON)
    if found.password is None:
        return Refused(AccessReason.NO_PASSWORD)
    try:
        async with tried(desk, address, ("password", person)) as attempt:
            attempt.right = await desk.passwords.verify(found.password, old)
            if not attempt.right:
                return Refused(AccessReason.WRONG_CREDENTIALS)
    except TooManyAttempts as many:
        return Refused(AccessReason.TOO_MANY_ATTEMPTS, many.wait_s)
    try:
        if new == old:
            return Refused(AccessReason.BAD_PASSWORD, text=NOT_NEW)
        hashed = await desk.passwords.hash(new, login)
    except PasswordError as error:
        return Refused(AccessReason.BAD_PASSWORD, text=str(error))
    async with desk.pool.acquire() as db, db.transaction():
        # Between the look and now the office may have reset it: then the old one proves nothing any more.
        stands = await db.fetchval("SELECT password FROM person WHERE person = $1 FOR UPDATE", person)
        if stands != found.password:
            return Refused(AccessReason.WRONG_CREDENTIALS)
        await set_password(db, person, hashed, must_change=False)
        await sessions.revoke_all(db, person, Act.PASSWORD_CHANGED)
        await acts.record(db, Act.PASSWORD_CHANGED, by=person, subject=person, request_id=request_id)
        await tell_change(db, person)
    return None


async def _rehash(desk: Desk, person: PersonRow, password: str) -> None:
    """Hash a password anew, by the parameters of today; not one that has been changed since."""
    try:
        hashed = await desk.passwords.hash(password)
    except (PasswordError, Busy):
        # It was taken under other rules, or there is much to do: it is right as it is.
        return
    async with desk.pool.acquire() as db:
        await db.execute(
            "UPDATE person SET password = $3 WHERE person = $1 AND password = $2",
            person.person,
            person.password,
            hashed,
        )


def _identity(login: str) -> str:
    """Give the form under which tries of a login are counted: one, however it is written."""
    try:
        return normalised_login(login)
    except LoginError:
        return login[:LOGIN_LENGTH_MAX]
