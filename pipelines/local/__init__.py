"""Run the compiled pipeline on this machine: processes or containers."""
