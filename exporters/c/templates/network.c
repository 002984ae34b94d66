/* [[ title ]]: the layers. network.h says how to use them; parameters.c holds their weights. */
#include "network.h"

#include "kernels.h"
#include "parameters.h"

#include <string.h>

static [[ p ]]_observer observer;

<% for ctype, count in memory.maps.items() %>
static [[ ctype ]] values_[[ short[ctype] ]][ [[- count -]] ];
<% endfor %>
<% for name, count in memory.scratch.items() %>
static [[ name.split()[1] ]] [[ scratch(name) ]][ [[- count -]] ];
<% endfor %>
<% for stage in stages %>
<% if kind(stage) == "neuron" %>
static int32_t v_[[ stem(stage) ]][ [[- size(stage) -]] ];
<% if has_memory(stage.node) %>
static int32_t u_[[ stem(stage) ]][ [[- size(stage) -]] ];
<% endif %>
<% elif kind(stage) == "readout" %>
static [[ p ]]_logit total[ [[- size(stage) -]] ];
<% endif %>
<% endfor %>

<% macro convolution(stage, term, number) %>
<% set height, width = term.window %>
<% set weights = weights(stage, number) %>
<% set sums = scratch("sums " ~ sums_type(stage)) %>
<% set channels = term.map.channels %>
<% if term.kernel == "dense" %>
<% set patch = scratch("patch " ~ term.map.ctype) %>
            { /* dense: all of a patch, zero where it is padded */
                const int top = y * [[ term.stride[0] ]] - [[ term.padding[0] ]], left = x * [[ term.stride[1] ]] - [[ term.padding[1] ]];
                for (int ky = 0; ky < [[ height ]]; ky++) {
                    const int row = top + ky * [[ term.dilation[0] ]];
                    [[ term.map.ctype ]] *to = [[ patch ]] + ky * [[ width * channels ]];
                    if (row < 0 || row >= [[ term.map.height ]]) {
                        memset(to, 0, [[ width * channels ]] * sizeof *to);
                        continue;
                    }
<% if term.dilation[1] == 1 %>
                    if (left >= 0 && left + [[ width ]] <= [[ term.map.width ]]) {
                        memcpy(to, [[ at(term.map) ]] + (row * [[ term.map.width ]] + left) * [[ channels ]], [[ width * channels ]] * sizeof *to);
                        continue;
                    }
<% endif %>
                    for (int kx = 0; kx < [[ width ]]; kx++, to += [[ channels ]]) {
                        const int column = left + kx * [[ term.dilation[1] ]];
                        if (column < 0 || column >= [[ term.map.width ]]) {
                            memset(to, 0, [[ channels ]] * sizeof *to);
                        } else {
                            memcpy(to, [[ at(term.map) ]] + (row * [[ term.map.width ]] + column) * [[ channels ]], [[ channels ]] * sizeof *to);
                        }
                    }
                }
                [[ p ]]_multiply_[[ short[term.map.ctype] ]]_[[ short[ctype(term)] ]]_[[ short[sums_type(stage)] ]]([[ sums ]], [[ patch ]], [[ weights ]], [[ term.taps ]], [[ stage.shape[2] ]]);
            }
<% else %>
            { /* [[ "spikes: the weights of each are added" if term.kernel == "events" else "values that are not 0" ]] */
<% if term.kernel == "events" %>
                int count = 0;
<% endif %>
                for (int ky = 0; ky < [[ height ]]; ky++) {
                    const int row = y * [[ term.stride[0] ]] - [[ term.padding[0] ]] + ky * [[ term.dilation[0] ]];
                    if (row < 0 || row >= [[ term.map.height ]]) {
                        continue;
                    }
                    for (int kx = 0; kx < [[ width ]]; kx++) {
                        const int column = x * [[ term.stride[1] ]] - [[ term.padding[1] ]] + kx * [[ term.dilation[1] ]];
                        if (column < 0 || column >= [[ term.map.width ]]) {
                            continue;
                        }
                        const int first = (ky * [[ width ]] + kx) * [[ channels ]];
<% if term.rows %>
                        const int place = (row % [[ term.rows ]]) * [[ term.map.width ]] + column;
                        const uint16_t *listed = [[ scratch("events uint16_t") ]] + [[ ring(stage, number)[0] ]] + place * [[ term.listed_per_pixel ]];
                        const int spikes = [[ scratch("counts uint16_t") ]][ [[- ring(stage, number)[1] ]] + place];
                        for (int k = 0; k < spikes; k++) {
                            [[ scratch("rows " ~ rows_type) ]][count + k] = ([[ rows_type ]])(first + listed[k]);
                        }
                        count += spikes;
<% elif term.kernel == "events" %>
                        const uint8_t *values = [[ at(term.map) ]] + (row * [[ term.map.width ]] + column) * [[ channels ]];
                        uint16_t *listed = [[ scratch("events uint16_t") ]] + [[ ring(stage, number)[0] ]];
                        const int spikes = [[ p ]]_list(listed, values, [[ channels ]], [[ term.map.high ]]);
                        for (int k = 0; k < spikes; k++) {
                            [[ scratch("rows " ~ rows_type) ]][count + k] = ([[ rows_type ]])(first + listed[k]);
                        }
                        count += spikes;
<% else %>
                        const [[ term.map.ctype ]] *values = [[ at(term.map) ]] + (row * [[ term.map.width ]] + column) * [[ channels ]];
                        for (int k = 0; k < [[ channels ]]; k++) {
                            const [[ sums_type(stage) ]] value = values[k];
                            if (value != 0) {
                                const [[ ctype(term) ]] *row_of_weights = [[ weights ]] + (first + k) * [[ stage.shape[2] // term.groups ]];
                                [[ sums_type(stage) ]] *to = [[ sums ]]<% if term.groups > 1 %> + (k / [[ channels // term.groups ]]) * [[ stage.shape[2] // term.groups ]]<% endif %>;
                                for (int o = 0; o < [[ stage.shape[2] // term.groups ]]; o++) {
                                    to[o] += value * row_of_weights[o];
                                }
                            }
                        }
<% endif %>
                    }
                }
<% if term.kernel == "events" %>
                [[ p ]]_add_[[ short[ctype(term)] ]]_[[ short[sums_type(stage)] ]]([[ sums ]], [[ weights ]], [[ scratch("rows " ~ rows_type) ]], count, [[ stage.shape[2] ]]);
<% endif %>
            }
<% endif %>
<% endmacro %>
<% macro pooling(stage, term) %>
<% set sums = scratch("sums " ~ sums_type(stage)) %>
            for (int ky = 0; ky < [[ term.kernel[0] ]]; ky++) {
                const int row = y * [[ term.stride[0] ]] - [[ term.padding[0] ]] + ky;
                if (row < 0 || row >= [[ term.map.height ]]) {
                    continue;
                }
                for (int kx = 0; kx < [[ term.kernel[1] ]]; kx++) {
                    const int column = x * [[ term.stride[1] ]] - [[ term.padding[1] ]] + kx;
                    if (column < 0 || column >= [[ term.map.width ]]) {
                        continue;
                    }
                    for (int c = 0; c < [[ stage.shape[2] ]]; c++) {
                        [[ sums ]][c] += [[ at(term.map) ]][(row * [[ term.map.width ]] + column) * [[ term.map.channels ]] + c];
                    }
                }
            }
<% endmacro %>
<% macro largest(stage, term) %>
<% set sum = sums_type(stage) %>
            { /* the largest value of a window, of which what lies beyond the edge is no part */
                const int top = y * [[ term.stride[0] ]] - [[ term.padding[0] ]], left = x * [[ term.stride[1] ]] - [[ term.padding[1] ]];
                const int bottom = top + [[ term.kernel[0] ]] < [[ term.map.height ]] ? top + [[ term.kernel[0] ]] : [[ term.map.height ]];
                const int right = left + [[ term.kernel[1] ]] < [[ term.map.width ]] ? left + [[ term.kernel[1] ]] : [[ term.map.width ]];
                for (int c = 0; c < [[ stage.shape[2] ]]; c++) {
                    [[ sum ]] most = [[ literal(term.map.low) ]]; /* no value is smaller */
                    for (int row = top < 0 ? 0 : top; row < bottom; row++) {
                        for (int column = left < 0 ? 0 : left; column < right; column++) {
                            const [[ sum ]] value = [[ at(term.map) ]][(row * [[ term.map.width ]] + column) * [[ term.map.channels ]] + c];
                            most = value > most ? value : most;
                        }
                    }
                    [[ scratch("sums " ~ sum) ]][c] += most;
                }
            }
<% endmacro %>
<% macro neuron(stage) %>
<% set node, sum, wide = stage.node, sums_type(stage), charge_type(stage) %>
                [[ sum ]] a = [[ scratch("sums " ~ sum) ]][c];
<% if stage.checked %>
                outside |= (a >= [[ literal(numerics.input_limit) ]]) | (a <= [[ literal(-numerics.input_limit) ]]);
                a = a > [[ literal(numerics.input_limit) ]] ? [[ literal(numerics.input_limit) ]] : a;
                a = a < [[ literal(-numerics.input_limit) ]] ? [[ literal(-numerics.input_limit) ]] : a;
<% endif %>
                const [[ wide ]] u = <% if has_memory(node) %>[[ p ]]_leak(u_[[ stem(stage) ]][i], [[ parameter(stage, "kept_current") ]]) + <% endif %>([[ wide ]])a * 64 + [[ parameter(stage, "bias") ]];
<% if reset(node) == "subtract_late" %>
                const [[ wide ]] late = v_[[ stem(stage) ]][i] > [[ parameter(stage, "threshold") ]] ? [[ parameter(stage, "amount") ]] : 0;
<% endif %>
                const [[ wide ]] v = <% if parameter(stage, "kept") == "0" %>u<% elif parameter(stage, "kept") == "4096" %>v_[[ stem(stage) ]][i] + u<% else %>[[ p ]]_leak(v_[[ stem(stage) ]][i], [[ parameter(stage, "kept") ]]) + u<% endif %><% if reset(node) == "subtract_late" %> - late<% endif %>;
                const int spike = v > [[ parameter(stage, "threshold") ]];
<% if stage.checked %>
<% if has_memory(node) %>
                outside |= (u >= [[ limit ]]) | (u <= -[[ limit ]]);
<% endif %>
                outside |= (v >= [[ limit ]]) | (v <= -[[ limit ]]);
<% endif %>
<% if has_memory(node) %>
                u_[[ stem(stage) ]][i] = (int32_t)u;
<% endif %>
<% if reset(node) == "zero" %>
                v_[[ stem(stage) ]][i] = spike ? 0 : (int32_t)v;
<% elif reset(node) == "subtract" %>
                v_[[ stem(stage) ]][i] = (int32_t)(spike ? v - [[ parameter(stage, "amount") ]] : v);
<% else %>
                v_[[ stem(stage) ]][i] = (int32_t)v;
<% endif %>
                [[ at(stage.result) ]][i] = (uint8_t)spike;
<% endmacro %>
<% for stage in stages %>
/* Layer [[ loop.index ]], [[ kind(stage) ]] [[ comment(stage.name) ]]. Returns whether a value left its range. */
static int layer_[[ stem(stage) ]](<% if reads_input(stage) %>const [[ p ]]_input *input<% else %>void<% endif %>)
{
    int outside = 0;
<% for term in stage.terms if is_convolved(term) and term.rows %>
    int listed_[[ number_of(stage, term) ]] = 0; /* rows whose spikes are listed */
<% endfor %>
    for (int y = 0; y < [[ stage.shape[0] ]]; y++) {
<% for term in stage.terms if is_convolved(term) and term.rows %>
<% set number = number_of(stage, term) %>
        for (; listed_[[ number ]] < [[ term.map.height ]] && listed_[[ number ]] <= y * [[ term.stride[0] ]] - [[ term.padding[0] ]] + [[ term.rows - 1 ]]; listed_[[ number ]]++) {
            for (int column = 0; column < [[ term.map.width ]]; column++) {
                const int place = (listed_[[ number ]] % [[ term.rows ]]) * [[ term.map.width ]] + column;
                [[ scratch("counts uint16_t") ]][ [[- ring(stage, number)[1] ]] + place] = (uint16_t)[[ p ]]_list(
                    [[ scratch("events uint16_t") ]] + [[ ring(stage, number)[0] ]] + place * [[ term.listed_per_pixel ]],
                    [[ at(term.map) ]] + (listed_[[ number ]] * [[ term.map.width ]] + column) * [[ term.map.channels ]], [[ term.map.channels ]], [[ term.map.high ]]);
            }
        }
<% endfor %>
        for (int x = 0; x < [[ stage.shape[1] ]]; x++) {
<% set sums = scratch("sums " ~ sums_type(stage)) %>
            const int p = (y * [[ stage.shape[1] ]] + x) * [[ stage.shape[2] ]];
            for (int c = 0; c < [[ stage.shape[2] ]]; c++) {
                [[ sums ]][c] = 0;
            }
<% for term in stage.terms %>
<% if is_convolved(term) %>
[[ convolution(stage, term, loop.index0) -]]
<% elif is_pooled(term) %>
[[ pooling(stage, term) -]]
<% elif is_largest(term) %>
[[ largest(stage, term) -]]
<% else %>
            for (int c = 0; c < [[ stage.shape[2] ]]; c++) {
                [[ sums ]][c] += <% if term.factor != 1 %>([[ sums_type(stage) ]])[[ literal(term.factor) ]] * <% endif %>[[ at(term.map) ]][p + c];
            }
<% endif %>
<% endfor %>
            for (int c = 0; c < [[ stage.shape[2] ]]; c++) {
                const int i = p + c;
<% if kind(stage) == "neuron" %>
[[ neuron(stage) -]]
<% elif kind(stage) == "threshold" %>
                [[ at(stage.result) ]][i] = (uint8_t)([[ sums ]][c] > [[ parameter(stage, "threshold") ]]);
<% elif kind(stage) == "relay" %>
                const int64_t a = [[ sums ]][c] + (int64_t)[[ parameter(stage, "bias") ]]; /* with half a unit */
<% if stage.checked %>
                outside |= (a - [[ half(stage) ]] >= [[ limit ]]) | (a - [[ half(stage) ]] <= -[[ limit ]]);
<% endif %>
                const int64_t y = [[ p ]]_shift(a, [[ stage.node.shift ]]);
                const int64_t most = y > [[ literal(stage.node.high) ]] ? [[ literal(stage.node.high) ]] : y;
                [[ at(stage.result) ]][i] = ([[ stage.result.ctype ]])(most < [[ literal(stage.node.low) ]] ? [[ literal(stage.node.low) ]] : most);
<% elif kind(stage) == "readout" %>
                total[i] += ([[ p ]]_logit)[[ sums ]][c] + [[ parameter(stage, "bias") ]];
<% else %>
                [[ at(stage.result) ]][i] = ([[ stage.result.ctype ]])[[ sums ]][c];
<% endif %>
            }
        }
    }
    return outside;
}

<% endfor %>
void [[ p ]]_reset(void)
{
<% for stage in stages %>
<% if kind(stage) == "neuron" %>
    memset(v_[[ stem(stage) ]], 0, sizeof v_[[ stem(stage) ]]);
<% if has_memory(stage.node) %>
    memset(u_[[ stem(stage) ]], 0, sizeof u_[[ stem(stage) ]]);
<% endif %>
<% elif kind(stage) == "readout" %>
    memset(total, 0, sizeof total);
<% endif %>
<% endfor %>
}

int [[ p ]]_step(const [[ p ]]_input *input)
{
<% if bounded %>
    for (int i = 0; i < [[ P ]]_INPUT_SIZE; i++) {
        if ([[ bounded | join(" || ") ]]) {
            return [[ P ]]_INPUT_OUT_OF_RANGE;
        }
    }
<% endif %>
<% for stage in stages %>
    if (layer_[[ stem(stage) ]]([[ "input" if reads_input(stage) ]])) {
        return [[ loop.index ]];
    }
<% if is_recorded(stage) %>
    if (observer) {
        observer([[ loop.index ]], [[ at(stage.result) ]]);
    }
<% endif %>
<% endfor %>
    return [[ P ]]_OK;
}

int [[ p ]]_sample(const [[ p ]]_input *inputs, int per_step)
{
    [[ p ]]_reset();
    for (int step = 0; step < [[ P ]]_STEPS; step++) {
        const int status = [[ p ]]_step(inputs + (per_step ? step * [[ P ]]_INPUT_SIZE : 0));
        if (status != [[ P ]]_OK) {
            return status;
        }
    }
    return [[ P ]]_OK;
}

const [[ p ]]_logit *[[ p ]]_logits(void)
{
    return total;
}

int [[ p ]]_class(void)
{
    int best = 0;
    for (int k = 1; k < [[ P ]]_CLASSES; k++) {
        if (total[k] > total[best]) {
            best = k;
        }
    }
    return best;
}

void [[ p ]]_observe([[ p ]]_observer wanted)
{
    observer = wanted;
}
