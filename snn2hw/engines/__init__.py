"""Engines that execute a Program: cycle is the living definition."""
