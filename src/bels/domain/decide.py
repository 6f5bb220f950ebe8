"""The table of contents of the domain: which rule answers which command."""

from __future__ import annotations

from typing import assert_never

from bels.domain.accept_reading import accept_reading
from bels.domain.account import Account, Situation, nobody
from bels.domain.close_period import close_period
from bels.domain.commands import (
    CarryOverHistory,
    ChangeResidents,
    CloseAccount,
    ClosePeriod,
    Command,
    ConfirmReading,
    InstallMeter,
    LinkChannel,
    MakeRefund,
    MovePaymentIn,
    MovePaymentOut,
    OpenAccount,
    PublishRulebook,
    ReceivePayment,
    RecordAccessRefusal,
    RecordInterference,
    RegisterAbsence,
    RegisterTemporaryResidents,
    RejectReading,
    RemoveMeter,
    ReplaceMeter,
    ReportMeterFailure,
    RestoreMeter,
    ReversePayment,
    SubmitReading,
    TakeControlReading,
    UnlinkChannel,
)
from bels.domain.confirm_reading import confirm_reading, reject_reading
from bels.domain.events import Event
from bels.domain.inspect_meter import record_access_refusal, record_interference, take_control_reading
from bels.domain.link_channel import link_channel, unlink_channel
from bels.domain.open_account import (
    carry_over_history,
    change_residents,
    close_account,
    open_account,
    register_absence,
    register_temporary_residents,
)
from bels.domain.publish_rulebook import publish_rulebook
from bels.domain.receive_payment import (
    make_refund,
    move_payment_in,
    move_payment_out,
    receive_payment,
    reverse_payment,
)
from bels.domain.rulebook import Rulebook
from bels.domain.service_meter import (
    install_meter,
    remove_meter,
    replace_meter,
    report_meter_failure,
    restore_meter,
)

_APART = {Situation.SUSPENSE: (ReversePayment, MakeRefund, MovePaymentOut), Situation.RULEBOOK: (PublishRulebook,)}
"""What may be asked of a stream that is no account's; whatever else names one is answered as for an unknown account."""


def addressed(account: Account, command: object) -> Account:
    """Give the account that a command may speak to: a stream of another kind is nobody to it."""
    apart = _APART.get(account.situation)
    return account if apart is None or isinstance(command, apart) else nobody(account.number)


def decide(account: Account, command: Command, rulebook: Rulebook) -> tuple[Event, ...]:
    """Say what happens to an account when this is asked of it, under these rules. Pure and total."""
    match command:
        case SubmitReading():
            return accept_reading(account, command, rulebook)
        case ClosePeriod():
            return close_period(account, command, rulebook)
        case ConfirmReading():
            return confirm_reading(account, command, rulebook)
        case RejectReading():
            return reject_reading(account, command)
        case OpenAccount():
            return open_account(account, command, rulebook)
        case CloseAccount():
            return close_account(account, command, rulebook)
        case CarryOverHistory():
            return carry_over_history(account, command, rulebook)
        case ChangeResidents():
            return change_residents(account, command)
        case RegisterTemporaryResidents():
            return register_temporary_residents(account, command)
        case RegisterAbsence():
            return register_absence(account, command)
        case InstallMeter():
            return install_meter(account, command, rulebook)
        case RemoveMeter():
            return remove_meter(account, command, rulebook)
        case ReplaceMeter():
            return replace_meter(account, command, rulebook)
        case ReportMeterFailure():
            return report_meter_failure(account, command, rulebook)
        case RestoreMeter():
            return restore_meter(account, command, rulebook)
        case TakeControlReading():
            return take_control_reading(account, command, rulebook)
        case RecordAccessRefusal():
            return record_access_refusal(account, command, rulebook)
        case RecordInterference():
            return record_interference(account, command, rulebook)
        case LinkChannel():
            return link_channel(account, command)
        case UnlinkChannel():
            return unlink_channel(account, command)
        case ReceivePayment():
            return receive_payment(account, command)
        case ReversePayment():
            return reverse_payment(account, command)
        case MakeRefund():
            return make_refund(account, command)
        case MovePaymentOut():
            return move_payment_out(account, command)
        case MovePaymentIn():
            return move_payment_in(account, command)
        case PublishRulebook():
            return publish_rulebook(account, command, rulebook)
        case _ as never:
            assert_never(never)
