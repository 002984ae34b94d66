/* Runs samples and compares every value of every layer with what the program gives: prints ok, or the first difference. */
#include <stdio.h>

#include "network.h"
#include "vectors.h"

enum { U8, S8, S16, S32, S64 };

struct layer {
    const char *name;
    const uint8_t *expected; /* of all samples and steps; 0 for layers that are not compared */
    int bits, is_signed, type;
    long size;
    int height, width, channels, dimensions;
};

static const struct layer layers[ [[- P ]]_LAYERS + 1] = {
    {"", 0, 0, 0, 0, 0, 0, 0, 0, 0},
<% for stage in stages %>
<% if is_recorded(stage) %>
    {[[ string(stage.name) ]], [[ p ]]_expected_[[ loop.index ]], [[ bits_of(stage) ]], [[ 1 if stage.result.low < 0 else 0 ]], [[ short[stage.result.ctype] | upper ]],
     [[ size(stage) ]], [[ stage.shape[0] ]], [[ stage.shape[1] ]], [[ stage.shape[2] ]], [[ stage.node.shape | length ]]},
<% else %>
    {[[ string(stage.name) ]], 0, 0, 0, 0, 0, 0, 0, 0, 0},
<% endif %>
<% endfor %>
};

static int failed, sample, step;

static int64_t actual_at(const struct layer *layer, const void *values, long i)
{
    switch (layer->type) {
    case U8: return ((const uint8_t *)values)[i];
    case S8: return ((const int8_t *)values)[i];
    case S16: return ((const int16_t *)values)[i];
    case S32: return ((const int32_t *)values)[i];
    default: return ((const int64_t *)values)[i];
    }
}

static int64_t expected_at(const struct layer *layer, long i)
{
    const uint8_t *bytes = layer->expected;
    if (layer->bits == 1) {
        return (bytes[i / 8] >> (i % 8)) & 1;
    }
    if (layer->bits == 8) {
        return layer->is_signed && bytes[i] > 127 ? (int64_t)bytes[i] - 256 : bytes[i];
    }
    {
        const int64_t value = bytes[4 * i] + ((int64_t)bytes[4 * i + 1] << 8) + ((int64_t)bytes[4 * i + 2] << 16) + ((int64_t)bytes[4 * i + 3] << 24);
        return value >= INT64_C(2147483648) ? value - INT64_C(4294967296) : value;
    }
}

static void compare(int number, const void *values)
{
    const struct layer *layer = &layers[number];
    const long first = ((long)sample * [[ P ]]_STEPS + step) * layer->size;
    for (long i = 0; i < layer->size && !failed; i++) {
        const int64_t expected = expected_at(layer, first + i), actual = actual_at(layer, values, i);
        if (expected != actual) {
            const int channel = (int)(i % layer->channels), x = (int)(i / layer->channels) % layer->width;
            const int y = (int)(i / layer->channels) / layer->width;
            failed = 1;
            printf("layer %s, sample %d, step %d, index ", layer->name, sample, step);
            if (layer->dimensions == 1) {
                printf("[%d]", channel);
            } else {
                printf("[%d, %d, %d]", channel, y, x);
            }
            printf(": expected %lld, got %lld\n", (long long)expected, (long long)actual);
        }
    }
}

int main(void)
{
    [[ p ]]_observe(compare);
    for (sample = 0; sample < [[ P ]]_VECTORS && !failed; sample++) {
        [[ p ]]_reset();
        for (step = 0; step < [[ P ]]_STEPS && !failed; step++) {
            const [[ p ]]_input *input = [[ p ]]_vectors + ((long)sample * [[ P ]]_VECTOR_FRAMES + ([[ P ]]_VECTOR_FRAMES > 1 ? step : 0)) * [[ P ]]_INPUT_SIZE;
            const int status = [[ p ]]_step(input);
            if (status == [[ P ]]_INPUT_OUT_OF_RANGE) {
                printf("sample %d, step %d: the input is out of range\n", sample, step);
                failed = 1;
            } else if (status != [[ P ]]_OK) {
                printf("layer %s, sample %d, step %d: a value left its range\n", layers[status].name, sample, step);
                failed = 1;
            }
        }
        for (int k = 0; k < [[ P ]]_LOGITS && !failed; k++) {
            const int64_t expected = [[ p ]]_expected_logits[sample * [[ P ]]_LOGITS + k], actual = [[ p ]]_logits()[k];
            if (expected != actual) {
                printf("logits, sample %d, index [%d]: expected %lld, got %lld\n", sample, k, (long long)expected, (long long)actual);
                failed = 1;
            }
        }
    }
    if (!failed) {
        printf("ok: %d samples, %d steps, [[ plan.recorded | length ]] layers and the logits\n", [[ P ]]_VECTORS, [[ P ]]_STEPS);
    }
    return failed;
}
