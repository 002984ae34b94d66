/* What the layers share: sums of products and of events, the leak of a state, lists of spikes. */
#ifndef [[ P ]]_KERNELS_H
#define [[ P ]]_KERNELS_H

#include <stdint.h>

/* state * kept / 4096, truncated towards zero, without leaving 32 bits. kept: 0 to 4096. */
static inline int32_t [[ p ]]_leak(int32_t state, int32_t kept)
{
    const int32_t size = state < 0 ? -state : state;
    const int32_t left = (size >> 12) * kept + (((size & 4095) * kept) >> 12);
    return state < 0 ? -left : left;
}

/* value / 2^bits, rounded down. */
static inline int64_t [[ p ]]_shift(int64_t value, int bits)
{
    return value < 0 ? -((-value + ((int64_t)1 << bits) - 1) >> bits) : value >> bits;
}

/*
 * Lists the numbers of the values that are not 0, each as often as it counts. most: the largest value. Returns how
 * many were listed; may write one place behind them.
 */
int [[ p ]]_list(uint16_t *events, const uint8_t *values, int count, int most);
<% for w, a, r in events %>

/* Adds rows of `outputs` weights to the sums: those that `rows` lists, each as often as it stands there. */
void [[ p ]]_add_[[ short[w] ]]_[[ short[a] ]]([[ a ]] *sums, const [[ w ]] *weights, const [[ r ]] *rows, int count, int outputs);
<% endfor %>
<% for x, w, a in dots %>

/* Adds to each sum the products of `taps` values with its own row of weights. */
void [[ p ]]_multiply_[[ short[x] ]]_[[ short[w] ]]_[[ short[a] ]]([[ a ]] *sums, const [[ x ]] *values, const [[ w ]] *weights, int taps, int outputs);
<% endfor %>

#endif
