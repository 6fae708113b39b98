"""`python -m faregate` is the `faregate` command."""

from faregate.cli import main

if __name__ == "__main__":
    main()
