/*
 * [[ title ]], as integers: the spiking network, one time step after the other.
 *
 * Freestanding C99: no heap, no floating point, no library but memcpy and memset. All memory is static, so there is one
 * network of this prefix in a program, and it is not to be called from two threads at once. Nothing but [[ P ]]_STEPS steps
 * after [[ p ]]_reset() gives the logits of a sample.
 *
 * An input value is a whole number ("payload") from [[ P ]]_INPUT_LOW to [[ P ]]_INPUT_HIGH, one for each element of
 * [height][width][channels], channels last. Of a real value x it is, rounded to the nearest, halves to even:
 *
 *     payload = min(max(round(x / [[ scale ]]), [[ P ]]_INPUT_LOW), [[ P ]]_INPUT_HIGH)
 *
 * Memory, in bytes
 *
 *     flash  [[ "%9d" % memory.constants ]]  weights and other constants
 *            [[ "%9d" % (memory.flash - memory.constants) ]]  code, at most (for a microcontroller, with -Os)
 *     RAM    [[ "%9d" % memory.states ]]  states of neurons and of the read-out, from step to step
 *            [[ "%9d" % memory.values ]]  values of one step, which layers share
 *            [[ "%9d" % memory.working ]]  sums, patches and events of what is computed
 *     [[ "%9s" % "" ]]           besides: the stack (less than 1 kB), and the caller's [[ input.size * input_size ]] bytes of input
 *
 * Layers: number, flash and RAM in bytes, values [height, width, channels], name
 *
<% for use in memory.uses %>
 * [[ "%5d %9d %9d" % (loop.index, use.constants, use.states) ]]  [[ comment(use.stage.shape | list | string) ]] [[ comment(use.stage.name) ]]
<% endfor %>
 */
#ifndef [[ P ]]_NETWORK_H
#define [[ P ]]_NETWORK_H

#include <stdint.h>

#define [[ P ]]_STEPS [[ steps ]]
#define [[ P ]]_INPUT_HEIGHT [[ input.height ]]
#define [[ P ]]_INPUT_WIDTH [[ input.width ]]
#define [[ P ]]_INPUT_CHANNELS [[ input.channels ]]
#define [[ P ]]_INPUT_SIZE [[ input.size ]]
#define [[ P ]]_INPUT_LOW ([[ input.low ]])
#define [[ P ]]_INPUT_HIGH [[ input.high ]]
#define [[ P ]]_LOGITS [[ readout.shape[0] * readout.shape[1] * readout.shape[2] ]]
#define [[ P ]]_CLASSES [[ classes ]] /* of the first head */
#define [[ P ]]_LAYERS [[ stages | length ]]

#define [[ P ]]_OK 0
#define [[ P ]]_INPUT_OUT_OF_RANGE (-1)

typedef [[ input.ctype ]] [[ p ]]_input;
typedef [[ total ]] [[ p ]]_logit;

/* Forgets the last sample. */
void [[ p ]]_reset(void);

/*
 * Computes one step. Returns [[ P ]]_OK; [[ P ]]_INPUT_OUT_OF_RANGE; or the number of the layer that left the range that it
 * was compiled for: the sample then has no result, and must be ended by [[ p ]]_reset().
 */
int [[ p ]]_step(const [[ p ]]_input *input);

/*
 * Computes a sample: resets, then [[ P ]]_STEPS steps. per_step: `inputs` holds one input for each step; else there is one
 * that every step shows. Returns what [[ p ]]_step returns.
 */
int [[ p ]]_sample(const [[ p ]]_input *inputs, int per_step);

/* The [[ P ]]_LOGITS totals so far, [height][width][channels]; after [[ P ]]_STEPS steps the logits. */
const [[ p ]]_logit *[[ p ]]_logits(void);

/* The class with the largest logit of the first head, of equal ones the first. */
int [[ p ]]_class(void);

/*
 * `observer` is called in every step for each layer that spikes, with its number and its values in the layer's type,
 * which are overwritten afterwards. A null pointer ends it.
 */
typedef void (*[[ p ]]_observer)(int layer, const void *values);
void [[ p ]]_observe([[ p ]]_observer observer);

#endif
