"""The float NIR graph: how it is laid out, what its neurons do, how it is executed, read and brought to normal form."""
