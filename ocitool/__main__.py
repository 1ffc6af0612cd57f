"""`python -m ocitool`."""

from ocitool.cli import main

if __name__ == "__main__":
    main()
