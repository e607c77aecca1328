"""`python -m saltus`."""

from saltus.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
