"""``python -m bels`` is ``bels``."""

from bels.cli import main

if __name__ == "__main__":
    main()
