"""The command line: one module a command, or a close group; each parses, calls and prints."""
