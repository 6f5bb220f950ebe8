"""``bels audit verify``."""

from __future__ import annotations

import argparse
import json
import time
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bels.command import DONE, PARTLY, CliError, account_given, run, settings_given, text_of

if TYPE_CHECKING:
    from bels.audit.findings import Finding
    from bels.audit.verifying.seals_check import Outside
    from bels.audit.verifying.tables import TablesChecked
    from bels.verification import Asked, Verified

FINDINGS_PRINTED_MAX = 200
"""Findings that are printed; --json has up to 10,000 of them."""

JOBS_MAX = 64
"""Processes that may be asked for."""

FORMAT = "bels verification 1"
_KEY_SIZE = 32

VERIFY_HELP = """\
Follows every entry of every account and compares with the seals. Nothing is changed. Only a seal that was kept where nobody here can
reach it proves that nothing was changed here: give it by --seal, and the published key by --key. Entries younger than the
newest seal are followed, too, but nobody vouches for them yet.

exit status: 0 nothing was found, 1 something was (each case is said), 2 it could not be done, 130 stopped by Ctrl-C
"""


def add(what: Any) -> None:
    """Add ``bels audit verify``."""
    verify = what.add_parser(
        "verify",
        help="Verify the journal against its seals",
        description="Verify the journal, or some accounts, against its seals.",
        epilog=VERIFY_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verify.add_argument("accounts", nargs="*", metavar="ACCOUNT", help="only these (default: the whole journal)")
    verify.add_argument("--seal", type=Path, action="append", default=[], metavar="FILE", help="a seal kept outside")
    verify.add_argument("--heads", type=Path, metavar="FILE", help="the file of heads kept beside one of these seals")
    verify.add_argument(
        "--key", action="append", default=[], metavar="HEX|FILE", help="the public key (default: those in the database)"
    )
    verify.add_argument(
        "--jobs",
        type=_jobs,
        metavar="N",
        help="processes; 1 is this one alone (default: this one where accounts are few, else one for each core)",
    )
    verify.add_argument("--views", action="store_true", help="do the views follow from the entries?")
    verify.add_argument("--charges", action="store_true", help="are all sums found again from their explanations?")
    verify.add_argument("--messages", action="store_true", help="are the entries made from the words that were sent?")
    verify.add_argument("--everything", action="store_true", help="all of these")
    verify.add_argument("--json", type=Path, metavar="FILE", help="write what was found for a program, too")
    verify.set_defaults(run=_verify)


def _verify(arguments: argparse.Namespace) -> int:
    import asyncpg

    from bels.app import database, opened
    from bels.audit.seals.reading import latest_seal
    from bels.audit.seals.statement import SealError
    from bels.audit.verifying.tables import TablesChecked
    from bels.progress import progress
    from bels.projections import overview
    from bels.rulebooks.shipped import PUBLISHED, shipped
    from bels.verification import ACCOUNTS_ALONE_MAX, Asked, verify

    settings, outside = settings_given(), _outside(arguments)
    all_of_it = arguments.everything
    asked = Asked(
        tuple(dict.fromkeys(map(account_given, arguments.accounts))),
        views=arguments.views or all_of_it,
        charges=arguments.charges or all_of_it,
        messages=arguments.messages or all_of_it,
    )

    tables = TablesChecked()

    async def running() -> int:
        nonlocal tables
        # Whoever opens puts triggers and rights back as they must be: how they were is asked first.
        with database(settings) as url:
            tables = await _tables_as_they_are(url)
            return await verifying()

    async def verifying() -> int:
        # Whoever only reads publishes no rules.
        async with opened(settings, shipped(PUBLISHED)) as bels:
            async with bels.pool.acquire() as db:
                streams = len(asked.accounts) or await overview.count_streams(db)
                with suppress(SealError):
                    seal = None if asked.accounts else await latest_seal(db)
                    streams = max(streams, seal.accounts if seal is not None else 0)
            alone = streams <= ACCOUNTS_ALONE_MAX if arguments.jobs is None else arguments.jobs == 1
            began = time.perf_counter()
            with progress("verify", streams, "accounts") as bar:
                how = replace(asked, alone=alone, processes=arguments.jobs)
                verified = await verify(bels, how, outside, bar, tables)
            took_s = time.perf_counter() - began
            verified_at = bels.intake.clock()
            if asked.views and bels.stale:
                print(f"These views are not told yet, so they differ: {', '.join(bels.stale)} (bels rebuild)")
        if arguments.json is not None:
            _write(arguments.json, _said(verified, asked, outside, verified_at))
        if asked.accounts and not verified.accounts and not verified.found:
            raise CliError(f"neither the journal nor a seal knows {', '.join(asked.accounts[:20])}")
        if not asked.accounts and not (verified.entries or verified.seals or verified.given or verified.found):
            # Whoever looks into a wrong place must not read that nothing was found.
            raise CliError("the journal is empty: look at BELS_DATA_DIR and BELS_DATABASE_URL, which say where it is")
        _print(verified, asked, outside, took_s)
        return PARTLY if verified.found else DONE

    try:
        return run(running())
    except BrokenPipeError:
        raise
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        found = "".join(f"; {finding.kind.value}: {finding.text}" for finding in tables.findings)
        raise CliError(
            f"the journal cannot be read to its end ({type(error).__name__}: {str(error)[:200]}){found}"
        ) from error


async def _tables_as_they_are(url: str) -> TablesChecked:
    import asyncpg

    from bels.audit.verifying.tables import TablesChecked, check_tables

    try:
        db = await asyncpg.connect(url)
    except (asyncpg.PostgresError, OSError, ValueError):
        # Whoever opens it says what is wrong with it.
        return TablesChecked()
    try:
        return await check_tables(db)
    finally:
        await db.close()


def _outside(arguments: argparse.Namespace) -> Outside:
    """Read what the auditor brings along.

    :raises CliError: a file cannot be used.
    """
    from bels.audit.seals.statement import SealError, read_seal
    from bels.audit.verifying.heads_file import HeadsError, read_heads
    from bels.audit.verifying.seals_check import Outside

    seals = []
    for path in arguments.seal:
        try:
            seals.append((str(path), read_seal(text_of(path))))
        except SealError as error:
            raise CliError(f"{path}: {error}") from error
    keys = tuple(key for given in arguments.key for key in keys_given(given))
    if arguments.heads is None:
        return Outside(tuple(seals), keys)
    try:
        number, heads = read_heads(arguments.heads)
    except HeadsError as error:
        raise CliError(str(error)) from error
    except OSError as error:
        raise CliError(f"{arguments.heads} cannot be read ({error.strerror or error})") from error
    seal = next((seal for _, seal in seals if seal.number == number), None)
    if seal is None:
        raise CliError(f"{arguments.heads} belongs to seal {number}: give that seal, too, by --seal")
    if heads.root != seal.heads:
        raise CliError(
            f"{arguments.heads} does not lead to the root of seal {number}: it was damaged, or is of another one"
        )
    return Outside(tuple(seals), keys, heads, number)


def keys_given(given: str) -> list[bytes]:
    """Give the public keys that a text or a file holds: hexadecimal digits, PEM, or the set of keys as it is published.

    :raises CliError: it holds none.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    text = given if len(given) == 2 * _KEY_SIZE and not Path(given).exists() else text_of(Path(given))
    try:
        if text.lstrip().startswith("-----"):
            key = load_pem_public_key(text.strip().encode())
            if not isinstance(key, Ed25519PublicKey):
                raise ValueError("another kind of key")
            return [key.public_bytes_raw()]
        named = [each["hex"] for each in json.loads(text)["keys"]] if text.lstrip().startswith("{") else [text.strip()]
        keys = [bytes.fromhex(each) for each in named]
        if not keys or any(len(key) != _KEY_SIZE for key in keys):
            raise ValueError("another size")
    except (ValueError, KeyError, TypeError) as error:
        raise CliError(
            f"--key {given[:100]}: this is no Ed25519 public key; give 64 hexadecimal digits, or a file with them, a PEM"
            " or the published seal-keys.json"
        ) from error
    return keys


def _print(verified: Verified, asked: Asked, outside: Outside, took_s: float) -> None:
    speed = f"{verified.entries / max(took_s, 0.001):,.0f} entries/s"
    print(f"Verified: {verified.entries:,} entries of {verified.accounts:,} streams in {took_s:.1f} s ({speed}).")
    if asked.messages:
        short = (
            f", of {verified.shortened:,} the words are kept shortened and cannot be compared"
            if verified.shortened
            else ""
        )
        print(f"Messages: {verified.messages:,}{short}.")
    keys = "the keys given" if outside.keys else "the keys in the database (give the published one by --key)"
    print(f"Seals: {verified.seals:,} in the database, {len(verified.given):,} from outside; signatures by {keys}.")
    if verified.proven is not None:
        at = _time(verified.proven.sealed_at)
        whose = "kept outside" if verified.proven.number in verified.given else "in the database"
        print(f"Newest seal to whose root the heads lead: {verified.proven.number} of {at} ({whose}).")
    elif verified.newest is None:
        print("There is no seal: who can change entries can change their digests, too (bels audit seal).")
    if verified.unsealed:
        since = f", the first of {_time(verified.unsealed_since)}" if verified.unsealed_since is not None else ""
        print(f"Not sealed yet: {verified.unsealed:,} entries{since}.")
    for warning in verified.warnings:
        print(f"WARNING: {warning}.")
    if not verified.found:
        print("Nothing was found.")
        return
    for finding in verified.findings[:FINDINGS_PRINTED_MAX]:
        print(f"{finding.kind.value}{_where(finding)}: {finding.text}")
    if verified.found > FINDINGS_PRINTED_MAX:
        print(f"... and {verified.found - FINDINGS_PRINTED_MAX:,} more (--json FILE)")
    counts = ", ".join(f"{kind.value} {count:,}" for kind, count in sorted(verified.counted.items()))
    print(f"FOUND {verified.found:,}: {counts}.")


def _where(finding: Finding) -> str:
    where = f" {finding.account}" if finding.account is not None else ""
    if finding.entry is not None:
        return f"{where}, entry {finding.entry}"
    return f"{where}, entries {finding.first} to {finding.last}" if finding.first is not None else where


def _said(verified: Verified, asked: Asked, outside: Outside, verified_at: datetime) -> dict[str, Any]:
    proven, newest = verified.proven, verified.newest
    return {
        "format": FORMAT,
        "verified_at": verified_at.astimezone(UTC).isoformat(),
        "accounts_asked": list(asked.accounts),
        "checked": ["chains", "seals", *(name for name in ("views", "charges", "messages") if getattr(asked, name))],
        "accounts": verified.accounts,
        "entries": verified.entries,
        "messages": verified.messages,
        "messages_shortened": verified.shortened,
        "seals": verified.seals,
        "seals_from_outside": sorted(verified.given),
        "keys_from_outside": len(outside.keys),
        "newest_seal": newest.number if newest is not None else None,
        "proven_seal": proven.number if proven is not None else None,
        "not_sealed": verified.unsealed,
        "not_sealed_since": verified.unsealed_since.isoformat() if verified.unsealed_since is not None else None,
        "warnings": list(verified.warnings),
        "found": verified.found,
        "found_by_kind": {kind.value: count for kind, count in sorted(verified.counted.items())},
        "findings": [asdict(finding) | {"kind": finding.kind.value} for finding in verified.findings],
    }


def _write(path: Path, said: dict[str, Any]) -> None:
    try:
        path.write_text(json.dumps(said, indent=2) + "\n", "utf-8")
    except OSError as error:
        raise CliError(f"{path} cannot be written ({error.strerror})", PARTLY) from error


def _time(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _jobs(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= JOBS_MAX):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to {JOBS_MAX}")
    return int(text)
