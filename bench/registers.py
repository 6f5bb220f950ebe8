"""Files for ``bels import``: households with a reading in every month, as another program would hand them over."""

from __future__ import annotations

import random
from datetime import date
from pathlib import Path

FIRST_ACCOUNT = 2_000_001
FIRST_MONTH = 2024 * 12


def write(folder: Path, accounts: int, months: int) -> tuple[Path, Path]:
    """Write accounts.csv and readings.csv: one register each, a reading between the 10th and the 24th of every month."""
    chance = random.Random(7)
    accounts_csv, readings_csv = folder / "accounts.csv", folder / "readings.csv"
    values = [1000 + chance.randrange(5000) for _ in range(accounts)]
    with accounts_csv.open("w", encoding="utf-8") as file:
        file.write("account,opened_on,locality,stove,rooms,residents,meter,capacity,registers,initial\n")
        for i, value in enumerate(values):
            number = FIRST_ACCOUNT + i
            file.write(f"{number},2023-12-20,urban,gas,2,3,M{number},6,total,{value}\n")
    with readings_csv.open("w", encoding="utf-8") as file:
        file.write("account,received_at,channel,values\n")
        for month in range(months):
            year, number_of_month = divmod(FIRST_MONTH + month, 12)
            for i in sorted(range(accounts), key=lambda _: chance.random()):
                values[i] += chance.randint(80, 300)
                day = date(year, number_of_month + 1, 10 + i * 15 // accounts)
                file.write(f"{FIRST_ACCOUNT + i},{day}T12:00:00+03:00,sms,{values[i]}\n")
    return accounts_csv, readings_csv
