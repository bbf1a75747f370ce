"""python -m vesal.cli is vesal."""

from vesal.cli.app import main

main()
