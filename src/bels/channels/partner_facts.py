"""What a partner is told of an account: who lives there, masked; what is due; what the meter showed; what became of a reading."""

from __future__ import annotations

import logging
import re
import unicodedata
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from bels.access import personal
from bels.access.master_key import MasterKeyError
from bels.access.personal import Personal, subject_of, tenure_of
from bels.access.vault import VaultError
from bels.domain.account import Account, Situation
from bels.domain.actual_readings import chain, undisproved
from bels.domain.commands import PaymentTerms, ReceivePayment
from bels.domain.events import CommandRefused
from bels.domain.money import ZERO
from bels.domain.periods import moscow_date
from bels.domain.receive_payment import reason_unallocated, receive_payment
from bels.domain.terms import Money, Purpose, Reason
from bels.messages import Status
from bels.payments.partners import Partner
from bels.payments.till import Paid, Till
from bels.reception.counter import answered, database
from bels.words import HOTLINE, Words, echo

_MEND = f"Верное передайте в личном кабинете или по телефону {HOTLINE}"
LOOKED_ENOUGH = "Запросов по лицевым счетам сегодня больше, чем предусмотрено договором"
"""Told instead of an account; a payment is taken all the same."""

_WORD = re.compile(r"\d+|[^\W\d_]+\.?")

log = logging.getLogger(__name__)


class Fact(StrEnum):
    """What a contract may have shown to a payer."""

    NAME = "name"
    ADDRESS = "address"
    DUE = "due"
    BALANCE = "balance"
    PENALTY = "penalty"
    PREVIOUS = "previous"
    MINIMUM = "minimum"
    MAXIMUM = "maximum"


LABELS = {
    Fact.NAME: "Абонент",
    Fact.ADDRESS: "Адрес",
    Fact.DUE: "К оплате",
    Fact.BALANCE: "Остаток на счёте",
    Fact.PENALTY: "Пени",
    Fact.PREVIOUS: "Предыдущее показание",
    Fact.MINIMUM: "Наименьший платёж",
    Fact.MAXIMUM: "Наибольший платёж",
}


@dataclass(frozen=True, slots=True)
class Facts:
    """An account as it stands, and its household; ``person`` is None where nothing is kept of it, or nobody asked."""

    account: Account
    person: Personal | None
    partner: Partner

    @property
    def due(self) -> Money:
        """What to pay now, in roubles: penalties are paid apart."""
        return max(self.account.ledger.balance, ZERO)

    def shown(self, fact: Fact) -> str:
        """Give a fact as a payer sees it, "" where there is none."""
        name, address = (self.person.name, self.person.address) if self.person is not None else (None, None)
        match fact:
            case Fact.NAME:
                return terminal_name(name or "")
            case Fact.ADDRESS:
                return masked_address(address or "")
            case Fact.DUE:
                return roubles(self.due)
            case Fact.BALANCE:
                # Beside a label an advance is what is there, as on every bill.
                return roubles(-self.account.ledger.balance)
            case Fact.PENALTY:
                return roubles(self.account.ledger.penalty)
            case Fact.PREVIOUS:
                return previous(self.account)
            case Fact.MINIMUM:
                return roubles(self.partner.minimum) if self.partner.minimum is not None else ""
            case Fact.MAXIMUM:
                return roubles(self.partner.maximum) if self.partner.maximum is not None else ""


async def facts_of(till: Till, partner: Partner, number: str, *, with_person: bool) -> Facts:
    """Look an account up, with its household where something of it is shown.

    :raises TryLater: the database cannot be reached.
    """
    account = await till.intake.account(number)
    person: Personal | None = None
    if with_person and account.situation is not Situation.UNKNOWN:
        async with database(till.counter) as db:
            subject = subject_of(number, await tenure_of(db, number))
            try:
                person = await personal.find(db, till.counter.door.vault, subject)
            except (VaultError, MasterKeyError) as error:
                # Nobody is kept from paying because a name cannot be read.
                log.warning("the personal data of a payer cannot be read: %s", type(error).__name__)
    return Facts(account, person, partner)


def why_not(facts: Facts, till: Till, amount: Decimal | None) -> Reason | None:
    """Say why a payment would not be taken now: this amount, or any (None). None: it would."""
    unallocated = reason_unallocated(facts.account, Purpose.ENERGY)
    if unallocated is not None or amount is None:
        return unallocated
    terms = PaymentTerms(facts.partner.minimum, facts.partner.maximum, keeps_unallocated=False)
    now = till.now()
    (answer,) = receive_payment(facts.account, ReceivePayment(amount, moscow_date(now), now, "", terms=terms))
    return answer.reason if isinstance(answer, CommandRefused) else None


def of_reading(till: Till, paid: Paid, *, came: bool, may: bool) -> Words | None:
    """Say what became of the reading that came with a payment, None where none came. ``may``: the partner may bring readings."""
    if not came:
        return None
    if not may:
        return Words("Показание не принято: договор его не предусматривает", "Передайте его другим способом")
    if paid.reading is None:
        return Words("Показание не принято: под этим номером платёж уже пришёл без него", "Передайте его отдельно")
    words = answered(till.counter, paid.reading, linked=False).words
    text = f"Показание: {words.text[:1].lower()}{words.text[1:]}"
    # How it is mended by SMS says nothing to somebody at a terminal.
    return Words(text, _MEND if paid.reading.status in (Status.HELD, Status.REFUSED) else words.hint)


def previous(account: Account) -> str:
    """Tell what the meter in service showed last, zones by name; "" where there is none."""
    if not account.meters or account.meters[-1].removed_at is not None:
        return ""
    readings = undisproved(chain(account, account.meters[-1].entry))
    return echo(readings[-1].values) if readings else ""


def roubles(amount: Decimal) -> str:
    """Write a sum with its kopecks; nothing has no sign."""
    return f"{amount if amount != 0 else ZERO:.2f}"


def terminal_name(name: str) -> str:
    """Mask a name for a terminal in a public place: of «Иванов Пётр Сергеевич» it is «И*** П.» (partners 2)."""
    surname, *others = unicodedata.normalize("NFC", name).split() or [""]
    initial = f" {others[0][0].upper()}." if others else ""
    return f"{surname[0].upper()}***{initial}" if surname else ""


def bank_name(name: str) -> str:
    """Mask a name as Sberbank shows it: of «Иванов Пётр Сергеевич» it is «ИВАНОВ П** С**» (partners 3)."""
    surname, *others = unicodedata.normalize("NFC", name).upper().split() or [""]
    return " ".join((surname, *(f"{word[0]}**" for word in others[:2]))).strip()


def masked_address(address: str) -> str:
    """Mask an address: of «Балашиха, ул. Ленина, д. 5» it is «Б**, УЛ. Л**, Д. **»: who lives there knows it, nobody else."""

    def masked(found: re.Match[str]) -> str:
        word = found.group()
        if word[0].isdigit():
            return "**"
        return word if word.endswith(".") else f"{word[0]}**"

    return _WORD.sub(masked, unicodedata.normalize("NFC", address).upper())
