"""stub"""
from dataclasses import dataclass
ACCOUNTS, MONTHS, SEED = 300, 14, 7
@dataclass
class Town:
    accounts: int = ACCOUNTS
    months: int = MONTHS
    seed: int = SEED
def listing(): return ""
async def load(bels, town, bar): ...
