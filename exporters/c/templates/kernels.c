/*
 * The inner loops. They stand in a file of their own so that compilers do not unroll them for each layer: they turn them
 * into vector instructions best as they are.
 */
#include "kernels.h"

#include <stddef.h>
#include <string.h>

int [[ p ]]_list(uint16_t *restrict events, const uint8_t *restrict values, int count, int most)
{
    int listed = 0;
    if (most == 1) {
        for (int k = 0; k < count; k++) {
            events[listed] = (uint16_t)k;
            listed += values[k];
        }
    } else {
        for (int k = 0; k < count; k++) {
            for (int times = values[k]; times > 0; times--) {
                events[listed++] = (uint16_t)k;
            }
        }
    }
    return listed;
}
<% for r in events | map(attribute=2) | unique if events | map(attribute=0) | select("equalto", "int8_t") | list %>

enum { BLOCK = 256, AT_ONCE = 256 }; /* outputs; rows: 256 weights from -127 to 127 add up to less than 16 bits hold */

/* The sums of `size` columns of four rows, of two, of one. */
static inline void add_four(int16_t *restrict part, const int8_t *restrict weights, const [[ r ]] *rows, int outputs, int size)
{
    const int8_t *a = weights + (size_t)rows[0] * (size_t)outputs, *b = weights + (size_t)rows[1] * (size_t)outputs;
    const int8_t *c = weights + (size_t)rows[2] * (size_t)outputs, *d = weights + (size_t)rows[3] * (size_t)outputs;
    for (int o = 0; o < size; o++) {
        part[o] = (int16_t)(part[o] + a[o] + b[o] + c[o] + d[o]);
    }
}

static inline void add_two(int16_t *restrict part, const int8_t *restrict weights, const [[ r ]] *rows, int outputs, int size)
{
    const int8_t *a = weights + (size_t)rows[0] * (size_t)outputs, *b = weights + (size_t)rows[1] * (size_t)outputs;
    for (int o = 0; o < size; o++) {
        part[o] = (int16_t)(part[o] + a[o] + b[o]);
    }
}

static inline void add_one(int16_t *restrict part, const int8_t *restrict weights, const [[ r ]] *rows, int outputs, int size)
{
    const int8_t *a = weights + (size_t)rows[0] * (size_t)outputs;
    for (int o = 0; o < size; o++) {
        part[o] = (int16_t)(part[o] + a[o]);
    }
}
<% endfor %>
<% for w, a, r in events %>

<% if w == "int8_t" %>
void [[ p ]]_add_[[ short[w] ]]_[[ short[a] ]]([[ a ]] *restrict sums, const [[ w ]] *restrict weights, const [[ r ]] *restrict rows, int count, int outputs)
{
    int16_t part[BLOCK];
    for (int first = 0; first < outputs; first += BLOCK) {
        const int size = outputs - first < BLOCK ? outputs - first : BLOCK;
        for (int done = 0; done < count; done += AT_ONCE) {
            const int last = count - done < AT_ONCE ? count : done + AT_ONCE;
            int k = done;
            memset(part, 0, sizeof part);
            for (; k + 8 <= last; k += 8) { /* two at a time, or GCC mixes the loops and gives up vector instructions */
                add_four(part, weights + first, rows + k, outputs, size);
                add_four(part, weights + first, rows + k + 4, outputs, size);
            }
            if (k + 4 <= last) {
                add_four(part, weights + first, rows + k, outputs, size);
                k += 4;
            }
            if (k + 2 <= last) {
                add_two(part, weights + first, rows + k, outputs, size);
                k += 2;
            }
            if (k < last) {
                add_one(part, weights + first, rows + k, outputs, size);
            }
            for (int o = 0; o < size; o++) {
                sums[first + o] += part[o];
            }
        }
    }
}
<% else %>
void [[ p ]]_add_[[ short[w] ]]_[[ short[a] ]]([[ a ]] *restrict sums, const [[ w ]] *restrict weights, const [[ r ]] *restrict rows, int count, int outputs)
{
    for (int k = 0; k < count; k++) {
        const [[ w ]] *row = weights + (size_t)rows[k] * (size_t)outputs;
        for (int o = 0; o < outputs; o++) {
            sums[o] += row[o];
        }
    }
}
<% endif %>
<% endfor %>
<% for x, w, a in dots %>

void [[ p ]]_multiply_[[ short[x] ]]_[[ short[w] ]]_[[ short[a] ]]([[ a ]] *restrict sums, const [[ x ]] *restrict values, const [[ w ]] *restrict weights, int taps, int outputs)
{
    int o = 0;
    for (; o + 4 <= outputs; o += 4) {
        const [[ w ]] *wa = weights + (size_t)o * (size_t)taps;
        const [[ w ]] *wb = wa + taps, *wc = wb + taps, *wd = wc + taps;
        [[ a ]] a = 0, b = 0, c = 0, d = 0;
        for (int k = 0; k < taps; k++) {
            a += ([[ a ]])values[k] * wa[k];
            b += ([[ a ]])values[k] * wb[k];
            c += ([[ a ]])values[k] * wc[k];
            d += ([[ a ]])values[k] * wd[k];
        }
        sums[o] += a;
        sums[o + 1] += b;
        sums[o + 2] += c;
        sums[o + 3] += d;
    }
    for (; o < outputs; o++) {
        const [[ w ]] *row = weights + (size_t)o * (size_t)taps;
        [[ a ]] a = 0;
        for (int k = 0; k < taps; k++) {
            a += ([[ a ]])values[k] * row[k];
        }
        sums[o] += a;
    }
}
<% endfor %>
