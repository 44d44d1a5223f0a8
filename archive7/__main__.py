"""`python -m archive7` is `ar7`."""

from .cli import main

if __name__ == "__main__":
    main()
