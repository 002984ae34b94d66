"""What each command does, from its arguments to the calls that do the work: one module a command."""
