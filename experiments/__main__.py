"""`python -m experiments …`: see `experiments.harness` for the commands and their JSON."""

from experiments.harness.cli import main

if __name__ == "__main__":
    main()
