"""`python -m vesal` is `vesal`, for launchers that take a module, such as torchrun."""

from vesal.cli import main

main()
