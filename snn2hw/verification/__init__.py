"""Verification: what a deployment claims, compared with what it is made of."""
