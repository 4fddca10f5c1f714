"""The commands of `meddel`, one file a verb: what it takes, what it prints. `options` and `kinds` are what they share.

Each has HELP, one line; `add_arguments(parser)`; `run(args)`, which raises what goes wrong and returns the exit status
where that is not 0; and, where a user who interrupts it should be told more, INTERRUPTED. `cli` does the rest.
"""
