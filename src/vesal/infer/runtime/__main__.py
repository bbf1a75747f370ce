"""`python -m vesal.infer.runtime`: the runtime's command."""

from vesal.infer.runtime.program import main

if __name__ == "__main__":
    main()
