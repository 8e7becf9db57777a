"""`python -m molvae` is `molvae`."""

from molvae.cli import main

if __name__ == "__main__":
    main()
