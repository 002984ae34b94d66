"""The report: what a program computes, counted exactly, and what that costs under named prices."""
