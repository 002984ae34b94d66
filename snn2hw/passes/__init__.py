"""The compiler's passes, one file each: calibrate, quantise, bound, balance_delays, partition."""
