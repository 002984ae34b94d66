"""The work behind `import snn2hw` and behind the command line: reading, compiling, running, verifying, reporting."""
