"""How results look: tables as text and as HTML, and progress on a terminal and in a notebook."""
