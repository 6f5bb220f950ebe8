"""Why the door refuses, in stable codes, and the words of it in Russian: one table.

Whatever a stranger could learn from is one code: a wrong account, a wrong proof and an account without bills are NOT_PROVEN,
an unknown login and a wrong password WRONG_CREDENTIALS.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

from bels.domain.terms import Reason, Word
from bels.words import Words, plural, refusal


class AccessReason(Word):
    """Why the door refuses: stable codes, beside those of the domain."""

    WRONG_CREDENTIALS = "WRONG_CREDENTIALS"
    TOO_MANY_ATTEMPTS = "TOO_MANY_ATTEMPTS"
    NOT_PROVEN = "NOT_PROVEN"
    LOGIN_TAKEN = "LOGIN_TAKEN"
    BAD_LOGIN = "BAD_LOGIN"
    BAD_PASSWORD = "BAD_PASSWORD"  # noqa: S105 - the name of a refusal
    NO_PASSWORD = "NO_PASSWORD"  # noqa: S105
    SESSION_ENDED = "SESSION_ENDED"
    UNKNOWN_SESSION = "UNKNOWN_SESSION"
    UNKNOWN_PERSON = "UNKNOWN_PERSON"
    ALREADY_MEMBER = "ALREADY_MEMBER"
    NOT_A_MEMBER = "NOT_A_MEMBER"
    LIMIT_REACHED = "LIMIT_REACHED"
    NOT_LINKED_HERE = "NOT_LINKED_HERE"
    BAD_CARD = "BAD_CARD"
    BAD_DOCUMENT = "BAD_DOCUMENT"
    BAD_NOTE = "BAD_NOTE"
    BAD_PERSONAL_DATA = "BAD_PERSONAL_DATA"
    NO_PERSONAL_DATA = "NO_PERSONAL_DATA"
    PERSONAL_DATA_ERASED = "PERSONAL_DATA_ERASED"


WORDS: Mapping[AccessReason, Words] = {
    AccessReason.WRONG_CREDENTIALS: Words(
        "Логин или пароль неверны.",
        "Проверьте раскладку и повторите. Забытый пароль меняют в офисе, с паспортом.",
    ),
    AccessReason.TOO_MANY_ATTEMPTS: Words(
        "Слишком много попыток подряд.", "Подождите и повторите: кабинет не заблокирован."
    ),
    AccessReason.NOT_PROVEN: Words(
        "По этим сведениям доступ к лицевому счёту открыть нельзя.",
        "Возьмите один из последних счетов и введите, как напечатано: лицевой счёт, месяц и сумму «К оплате», номер прибора "
        "учёта, «Текущее показание» (нужны два из трёх). Счёта нет — обратитесь в офис с паспортом.",
    ),
    AccessReason.LOGIN_TAKEN: Words(
        "Этот логин занят.", "Выберите другой; если логин ваш, войдите с паролем и добавьте лицевой счёт в кабинете."
    ),
    AccessReason.BAD_LOGIN: Words(
        "Такой логин не подходит.", "Логин: электронная почта, телефон или имя из 3 и более знаков."
    ),
    AccessReason.BAD_PASSWORD: Words(
        "Такой пароль не подходит.", "Пароль: от 10 до 128 знаков, не логин; несколько слов запомнить легче."
    ),
    AccessReason.NO_PASSWORD: Words(
        "У этого пользователя нет пароля: он входит через другую службу.",
        "Пароль меняют в той службе, через которую входят.",
    ),
    AccessReason.SESSION_ENDED: Words("Вход больше не действует.", "Войдите снова."),
    AccessReason.UNKNOWN_SESSION: Words(
        "Такого входа у вас нет, или он уже закончен.", "Посмотрите список входов ещё раз."
    ),
    AccessReason.UNKNOWN_PERSON: Words(
        "Такого потребителя нет.", "Номер пользователя (u-…) стоит в кабинете лицевого счёта."
    ),
    AccessReason.ALREADY_MEMBER: Words("Этот лицевой счёт уже есть в кабинете.", "Добавлять его ещё раз не нужно."),
    AccessReason.NOT_A_MEMBER: Words(
        "Этого лицевого счёта нет в кабинете.", "Посмотрите список лицевых счетов кабинета."
    ),
    AccessReason.LIMIT_REACHED: Words("Больше добавить нельзя: достигнут предел.", "Удалите лишнее и повторите."),
    AccessReason.NOT_LINKED_HERE: Words(
        "Этот отправитель не привязан к лицевому счёту.", "Сначала привяжите телефон, чат или почту к лицевому счёту."
    ),
    AccessReason.BAD_CARD: Words(
        "Карта указана неверно.",
        "От номера карты показывают не больше шести первых и четырёх последних цифр: 220012******3456.",
    ),
    AccessReason.BAD_DOCUMENT: Words(
        "Документ указан неверно.",
        "Для пароля нужен документ, удостоверяющий личность, для закрытия кабинета — о праве на квартиру; номер — четыре последних знака, "
        "не больше: «4821», день — не позже сегодняшнего.",
    ),
    AccessReason.BAD_NOTE: Words(
        "Основание указано неверно.",
        "От 3 до 200 знаков, без телефонов, адресов почты и номеров документов: основание хранится всегда и стереть его нельзя.",
    ),
    AccessReason.BAD_PERSONAL_DATA: Words(
        "Такие персональные данные сохранить нельзя.", "Проверьте имя, адрес, телефоны и адреса почты и повторите."
    ),
    AccessReason.NO_PERSONAL_DATA: Words(
        "Персональных данных этого абонента нет.",
        "Проверьте лицевой счёт и номер домохозяйства: его показывает кабинет счёта.",
    ),
    AccessReason.PERSONAL_DATA_ERASED: Words(
        "Персональные данные этого абонента уничтожены: внести их снова нельзя.",
        "Новый собственник начинается с закрытия кабинета прежнего.",
    ),
}
"""What is wrong, and how to do it right."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Why the door refuses; ``wait_s`` is after how many seconds it may be tried again, ``text`` what exactly is wrong."""

    reason: AccessReason | Reason
    wait_s: float | None = None
    text: str | None = None

    @property
    def words(self) -> Words:
        """The words for the person."""
        words = WORDS[self.reason] if isinstance(self.reason, AccessReason) else refusal(self.reason)
        if self.wait_s is not None:
            return Words(words.text, f"Повторите через {_time(self.wait_s)}: кабинет не заблокирован.")
        return Words(self.text or words.text, words.hint)


def _time(wait_s: float) -> str:
    seconds = max(1, ceil(wait_s))
    if seconds < 60:
        return f"{seconds} {plural(seconds, 'секунду', 'секунды', 'секунд')}"
    minutes = ceil(seconds / 60)
    return f"{minutes} {plural(minutes, 'минуту', 'минуты', 'минут')}"
