"""The Lava Processes and their models, and nothing else: Lava's compiler runs every module of this folder."""
