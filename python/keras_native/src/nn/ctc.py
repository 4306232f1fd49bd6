"""Connectionist temporal classification: the loss and the two ways to decode."""

from __future__ import annotations

import numpy as np

from keras_native.engine.primitive import Primitive
from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.primitives import gather as ga
from keras_native.engine.primitives import gather_sort as gs
from keras_native.engine.primitives import reduce as rd
from keras_native.engine.primitives import shape as sh
from keras_native.engine.primitives import shape_slice as ss
from keras_native.engine.primitives import softmax as sm
from keras_native.engine.primitives.elementwise_common import scalar
from keras_native.engine.tensor import Tensor
from keras_native.src.nn.activations import where
from keras_native.src.ops.control_flow import scan
from keras_native.src.ops.convert import convert_to_tensor, result_type

# The logarithm of a probability that is as good as zero; finite, so that gradients stay so.
_LOG_ZERO = -1e5


def ctc_loss(target, output, target_length, output_length, mask_index=0):
    """-log p(target | output), summed over all alignments.

    Args:
        target: [batch, labels] class numbers; output: [batch, steps, classes] logits.
        target_length, output_length: [batch].
        mask_index: the class of the blank.

    Returns:
        [batch].
    """
    target = convert_to_tensor(target, "int32")
    output = convert_to_tensor(output)
    target_length = convert_to_tensor(target_length, "int32")
    output_length = convert_to_tensor(output_length, "int32")
    output = ew.cast(output, result_type(output.dtype, "float32"))
    dtype = output.dtype
    batch, steps, _ = output.dims
    labels = target.dims[1]
    log_p = sm.log_softmax(output, -1)

    # A label that follows its like must be parted from it by a blank.
    following = ss.slice(target, (0, 1), (None, None))
    repeats = ew.eq(ss.slice(target, (0, 0), (None, labels - 1)), following)
    repeats = ss.pad(ew.cast(repeats, dtype), (0, 0), (0, 1), scalar(0, dtype))
    after_repeat = ew.mul(repeats, _LOG_ZERO)
    only_repeat = ew.mul(ew.sub(1.0, repeats), _LOG_ZERO)

    blank = ss.slice(log_p, (0, 0, mask_index), (None, None, mask_index + 1))
    at_label = sh.broadcast_to(sh.expand_dims(target, 1), (batch, steps, labels))
    emitted = ga.take_along_axis(log_p, at_label, -1)
    running = ew.lt(sh.expand_dims(sh.iota(steps), 1), sh.expand_dims(output_length, 0))

    # phi[n]: in a blank after n labels; emit[n]: in label n. Both as logarithms.
    start = scalar(0, dtype)
    phi = ss.pad(sh.full((batch, labels), _LOG_ZERO, dtype), (0, 1), (0, 0), start)
    emit = sh.full((batch, labels), _LOG_ZERO, dtype)

    def join(phi, emit):
        """Adds to the probabilities of `phi` those of having just left a label."""
        first = ss.slice(phi, (0, 0), (None, 1))
        rest = ss.slice(phi, (0, 1), (None, None))
        return sh.concat([first, ew.logaddexp(rest, emit)], 1)

    def step(state, x):
        phi, emit = state
        log_emit, log_blank, is_running = x
        left = join(phi, ew.add(emit, after_repeat))
        next_emit = ew.add(ew.logaddexp(ss.slice(left, (0, 0), (None, labels)), emit), log_emit)
        next_phi = join(ew.add(left, log_blank), ew.add(ew.add(emit, log_blank), only_repeat))
        is_running = sh.expand_dims(is_running, 1)
        return (
            ew.select(is_running, next_phi, phi),
            ew.select(is_running, next_emit, emit),
        ), None

    xs = (sh.transpose(emitted, (1, 0, 2)), sh.transpose(blank, (1, 0, 2)), running)
    (phi, emit), _ = scan(step, (phi, emit), xs)
    phi = join(phi, emit)
    chosen = ga.take_along_axis(phi, sh.expand_dims(target_length, 1), 1)
    return ew.neg(sh.reshape(chosen, (batch,)))


def ctc_decode(
    inputs,
    sequence_lengths,
    strategy="greedy",
    beam_width=100,
    top_paths=1,
    merge_repeated=True,
    mask_index=0,
):
    """The likeliest labels of [batch, steps, classes] logits.

    Returns:
        [paths, batch, steps] labels filled up with -1, and [batch, paths] scores.
    """
    inputs = convert_to_tensor(inputs)
    inputs = ew.cast(inputs, result_type(inputs.dtype, "float32"))
    lengths = convert_to_tensor(sequence_lengths, "int32")
    if mask_index is None:
        mask_index = inputs.dims[-1] - 1
    if strategy == "greedy":
        return _greedy(inputs, lengths, merge_repeated, mask_index)
    if strategy == "beam_search":
        paths, scores = _beam_search(
            sm.log_softmax(inputs, -1),
            lengths,
            beam_width=int(beam_width),
            top_paths=int(top_paths),
            mask_index=int(mask_index),
        )
        return paths, scores
    raise ValueError(
        f"Invalid strategy {strategy}. Supported values are 'greedy' and 'beam_search'."
    )


def _greedy(inputs: Tensor, lengths: Tensor, merge_repeated: bool, mask_index: int):
    batch, steps, _ = inputs.dims
    labels = rd.argmax(inputs, -1)
    scores = rd.reduce_max(inputs, (-1,))
    positions = sh.expand_dims(sh.iota(steps), 0)
    ended = ew.ge(positions, sh.expand_dims(lengths, 1))
    labels = where(ended, mask_index, labels)
    scores = where(ended, 0.0, scores)
    if merge_repeated:
        same = ew.eq(
            ss.slice(labels, (0, 1), (None, None)), ss.slice(labels, (0, 0), (None, steps - 1))
        )
        same = ss.pad(same, (0, 1), (0, 0), scalar(False, "bool"))
        labels = where(same, mask_index, labels)
    is_blank = ew.eq(labels, mask_index)
    labels = where(is_blank, -1, labels)
    # Labels move to the front, in their order.
    order = gs.argsort(where(is_blank, steps, sh.broadcast_to(positions, (batch, steps))), -1)
    labels = ga.take_along_axis(labels, order, -1)
    total = ew.neg(rd.reduce_sum(scores, (1,), keepdims=True))
    return sh.expand_dims(labels, 0), total


def _beam_shape(log_p, lengths, *, beam_width, top_paths, mask_index):
    batch, steps, _ = log_p.dims
    return [((top_paths, batch, steps), "int32"), ((batch, top_paths), log_p.dtype)]


def _beam_reference(log_p, lengths, *, beam_width, top_paths, mask_index):
    batch, steps, _ = log_p.shape
    paths = np.full((top_paths, batch, steps), -1, np.int32)
    scores = np.full((batch, top_paths), -np.inf, log_p.dtype)
    for b in range(batch):
        beams = _beams(log_p[b, : lengths[b]].astype(np.float64), beam_width, mask_index)
        for i, (path, score) in enumerate(beams[:top_paths]):
            paths[i, b, : len(path)] = path
            scores[b, i] = score
    return paths, scores


def _beams(log_p: np.ndarray, beam_width: int, blank: int) -> list:
    """Prefixes with their log-probabilities, the likeliest first.

    Each prefix keeps two: of ending in a blank, and of ending in its last label.
    """
    beams = {(): (0.0, -np.inf)}
    for step in log_p:
        grown: dict[tuple, list[float]] = {}

        def gain(path, ends_in_label, score, grown=grown):
            ways = grown.setdefault(path, [-np.inf, -np.inf])
            ways[ends_in_label] = np.logaddexp(ways[ends_in_label], score)

        for path, (in_blank, in_label) in beams.items():
            total = np.logaddexp(in_blank, in_label)
            for c, score in enumerate(step):
                if c == blank:
                    gain(path, 0, total + score)
                elif path and path[-1] == c:
                    gain(path, 1, in_label + score)
                    gain((*path, c), 1, in_blank + score)
                else:
                    gain((*path, c), 1, total + score)
        best = sorted(grown.items(), key=lambda item: -np.logaddexp(*item[1]))
        beams = {path: tuple(ways) for path, ways in best[:beam_width]}
    ranked = [(path, np.logaddexp(*ways)) for path, ways in beams.items()]
    return sorted(ranked, key=lambda item: -item[1])


_beam_search = Primitive("ctc_beam_search", shape=_beam_shape, reference=_beam_reference)
