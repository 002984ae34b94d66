/*
 * Runs samples that come on the standard input, for whoever compares: payloads in the input's type, one or [[ P ]]_STEPS
 * inputs a sample (arguments: the number of samples, and whether each step has an input of its own). Writes for every
 * sample in every step the values of each layer that spikes, in its type, and behind the last step the logits.
 */
#include <stdio.h>
#include <stdlib.h>

#include "network.h"

static [[ p ]]_input inputs[ [[- P ]]_STEPS * [[ P ]]_INPUT_SIZE];

static const size_t sizes[ [[- P ]]_LAYERS + 1] = { /* bytes of the values of each layer; 0: it is not written */
    0,
<% for stage in stages %>
    [[ stage.result.size * bytes(stage.result.ctype) if is_recorded(stage) else 0 ]],
<% endfor %>
};

static void put(int layer, const void *values)
{
    if (fwrite(values, 1, sizes[layer], stdout) != sizes[layer]) {
        exit(4);
    }
}

int main(int count, char **arguments)
{
    const long samples = count == 3 ? strtol(arguments[1], NULL, 10) : 0;
    const int per_step = count == 3 && arguments[2][0] == '1';
    const size_t given = (size_t)(per_step ? [[ P ]]_STEPS : 1) * [[ P ]]_INPUT_SIZE;
    [[ p ]]_observe(put);
    for (long sample = 0; sample < samples; sample++) {
        if (fread(inputs, sizeof *inputs, given, stdin) != given) {
            fprintf(stderr, "the input ends within sample %ld\n", sample);
            return 2;
        }
        [[ p ]]_reset();
        for (int step = 0; step < [[ P ]]_STEPS; step++) {
            const int status = [[ p ]]_step(inputs + (per_step ? step * [[ P ]]_INPUT_SIZE : 0));
            if (status != [[ P ]]_OK) {
                fprintf(stderr, "%d %ld %d", status, sample, step);
                return 3;
            }
        }
        if (fwrite([[ p ]]_logits(), sizeof(([[ p ]]_logit)0), [[ P ]]_LOGITS, stdout) != [[ P ]]_LOGITS) {
            return 4;
        }
    }
    return 0;
}
