/* The two networks, in plain JavaScript: convolutions, the CSC layer, residual blocks.

   One function without anything from outside, so that its text can be handed to a worker: a page opened from disk may
   not load a worker's file. An image is {data, channels, side}: Float32Array, channel after channel, row after row. */
function createEngine() {
  "use strict";

  /* ---- numbers ---- */

  function bytesOf(base64) {
    const text = atob(base64);
    const bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
    return bytes;
  }

  // Float16Array is too young to be relied on.
  function fromHalf(bits) {
    const exponent = (bits >> 10) & 31, fraction = bits & 1023;
    const size = exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15);
    return bits & 0x8000 ? -size : size;
  }

  function decode(base64, dtype) {
    const buffer = bytesOf(base64).buffer;
    if (dtype === "float32") return new Float32Array(buffer);
    return Float32Array.from(new Uint16Array(buffer), fromHalf);
  }

  /* ---- convolutions ---- */

  function image(channels, side) {
    return { data: new Float32Array(channels * side * side), channels, side };
  }

  // The patch under every output pixel, one row of a matrix each; outside the image there are zeros.
  function patches(input, kernel, stride) {
    const { channels, side } = input, border = kernel >> 1, padded = side + 2 * border;
    const framed = new Float64Array(channels * padded * padded);
    for (let row = 0, c = 0; c < channels; c++) {
      for (let y = 0; y < side; y++, row += side) {
        framed.set(input.data.subarray(row, row + side), (c * padded + y + border) * padded + border);
      }
    }
    const out = Math.ceil(side / stride), rows = new Float64Array(out * out * channels * kernel * kernel);
    let at = 0;
    for (let y = 0; y < out; y++) {
      for (let x = 0; x < out; x++) {
        for (let c = 0; c < channels; c++) {
          let from = (c * padded + y * stride) * padded + x * stride;
          for (let dy = 0; dy < kernel; dy++, from += padded) {
            for (let dx = 0; dx < kernel; dx++) rows[at++] = framed[from + dx];
          }
        }
      }
    }
    return { rows, pixels: out * out, length: channels * kernel * kernel, side: out };
  }

  // out[o, p] = w[o] · rows[p] + bias[o]; two channels, four pixels at a time: what is fetched is used often.
  function multiply(weight, bias, { rows, pixels, length, side }, channels) {
    const out = image(channels, side), { data } = out;
    for (let o = 0; o < channels; o += 2) {
      const start = bias ? bias[o] : 0, second = bias ? bias[o + 1] : 0;
      for (let p = 0; p < pixels; p += 4) {
        let a = start, b = start, c = start, d = start, e = second, f = second, g = second, h = second;
        let i = p * length, j = i + length, k = j + length, l = k + length, v = o * length, w = v + length;
        for (const end = w; v < end; ) {
          const one = weight[v++], two = weight[w++], q = rows[i++], r = rows[j++], s = rows[k++], t = rows[l++];
          a += one * q; b += one * r; c += one * s; d += one * t;
          e += two * q; f += two * r; g += two * s; h += two * t;
        }
        const at = o * pixels + p, below = at + pixels;
        data[at] = a; data[at + 1] = b; data[at + 2] = c; data[at + 3] = d;
        data[below] = e; data[below + 1] = f; data[below + 2] = g; data[below + 3] = h;
      }
    }
    return out;
  }

  function convolve(input, layer) {
    return multiply(layer.weight, layer.bias, patches(input, layer.kernel, layer.stride), layer.channels);
  }

  function relu(x) {
    for (let i = 0; i < x.data.length; i++) if (x.data[i] < 0) x.data[i] = 0;
    return x;
  }

  /* ---- the CSC layer (Eq. 4) ---- */

  // A(z): every entry of the code lays down its atom. What is zero costs nothing.
  function synthesis({ weight, channels }, code) {
    const { side } = code, wide = side + 2, frame = new Float64Array(3 * wide * wide);
    for (let at = 0, atom = 0; atom < channels; atom++) {
      for (let y = 0; y < side; y++) {
        for (let x = 0; x < side; x++, at++) {
          if (code.data[at] !== 0) layDown(frame, weight, atom * 27, code.data[at], y * wide + x, wide);
        }
      }
    }
    const out = image(3, side);
    for (let row = 0; row < 3 * side; row++) {
      const from = (Math.floor(row / side) * wide + (row % side) + 1) * wide + 1;
      out.data.set(frame.subarray(from, from + side), row * side);
    }
    return out;
  }

  function layDown(frame, weight, first, value, corner, wide) {
    for (let c = 0; c < 3; c++, corner += wide * wide) {
      for (let dy = 0, at = corner; dy < 3; dy++, at += wide) {
        frame[at] += value * weight[first++];
        frame[at + 1] += value * weight[first++];
        frame[at + 2] += value * weight[first++];
      }
    }
  }

  function residual(stem, x, code) {
    const left = synthesis(stem, code);
    for (let i = 0; i < left.data.length; i++) left.data[i] = x.data[i] - left.data[i];
    return left;
  }

  // z <- relu(y + step (Aᵀ(x - A(y)) - lam)), n times from zero; y runs ahead of z from the third step on (FISTA).
  function encode(stem, x, lam, steps) {
    const { weight, channels, step } = stem;
    let code = image(channels, x.side), before = code, ahead = 0, t = (1 + Math.sqrt(5)) / 2;
    for (let n = 0; n < steps; n++) {
      const rest = n ? residual(stem, x, extrapolate(code, before, ahead)) : x;
      const pull = multiply(weight, null, patches(rest, 3, 1), channels);
      const next = image(channels, x.side);
      for (let i = 0; i < next.data.length; i++) {
        const point = code.data[i] + ahead * (code.data[i] - before.data[i]);
        next.data[i] = Math.max(0, point + step * (pull.data[i] - lam));
      }
      if (n > 0) {
        const following = (1 + Math.sqrt(1 + 4 * t * t)) / 2;
        ahead = (t - 1) / following;
        t = following;
      }
      before = n ? code : next;
      code = next;
    }
    return code;
  }

  function extrapolate(code, before, ahead) {
    if (ahead === 0) return code;
    const point = image(code.channels, code.side);
    for (let i = 0; i < point.data.length; i++) point.data[i] = code.data[i] + ahead * (code.data[i] - before.data[i]);
    return point;
  }

  /* ---- a network ---- */

  // The layers that data.js describes, with their weights.
  function open(described, all) {
    const take = (start, count) => Float64Array.from(all.subarray(start, start + count));
    const layer = (told, before) => ({
      ...told,
      weight: take(told.weight, told.channels * before * told.kernel ** 2),
      bias: take(told.bias, told.channels),
    });
    const stem = layer({ ...described.stem, kernel: 3, stride: 1 }, 3);
    if (stem.step) {
      stem.scale = take(stem.scale, stem.channels);
    }
    let channels = stem.channels;
    const blocks = described.blocks.map((told) => {
      const first = layer(told.first, channels), second = layer(told.second, first.channels);
      const shortcut = told.shortcut && layer(told.shortcut, channels);
      channels = second.channels;
      return { first, second, shortcut };
    });
    const head = described.head;
    const last = { weight: take(head.weight, 10 * channels), bias: take(head.bias, 10) };
    return { ...described, stem, blocks, head: last };
  }

  // 8-bit pixels, colour after colour in every pixel, as the network's standardised image.
  function standardise(network, pixels) {
    const side = Math.sqrt(pixels.length / 3), x = image(3, side), size = side * side;
    for (let i = 0; i < pixels.length; i++) {
      const c = i % 3;
      x.data[c * size + (i - c) / 3] = (pixels[i] / 255 - network.mean[c]) / network.std[c];
    }
    return x;
  }

  function scaled(code, { scale, bias }) {
    const out = image(code.channels, code.side), size = code.side ** 2;
    for (let i = 0; i < out.data.length; i++) {
      const c = Math.floor(i / size);
      out.data[i] = code.data[i] * scale[c] + bias[c];
    }
    return out;
  }

  function through(block, x) {
    const inner = convolve(relu(convolve(x, block.first)), block.second);
    const beside = block.shortcut ? convolve(x, block.shortcut) : x;
    for (let i = 0; i < inner.data.length; i++) inner.data[i] += beside.data[i];
    return relu(inner);
  }

  function scores(network, features) {
    const last = network.blocks.reduce((x, block) => through(block, x), features), size = last.side ** 2;
    const { weight, bias } = network.head, logits = Array.from(bias);
    for (let c = 0; c < last.channels; c++) {
      const mean = last.data.subarray(c * size, (c + 1) * size).reduce((sum, value) => sum + value, 0) / size;
      for (let k = 0; k < logits.length; k++) logits[k] += weight[k * last.channels + c] * mean;
    }
    return logits;
  }

  // Class scores of 8-bit pixels; a network with a CSC layer also takes λ and a number of steps.
  function classify(network, pixels, lam, steps) {
    const x = standardise(network, pixels), { stem } = network;
    if (stem.step) return scores(network, scaled(encode(stem, x, lam, steps), stem));
    const features = convolve(x, stem);
    return scores(network, stem.relu ? relu(features) : features);
  }

  // What the layer made of the pixels: the code, A(z) and x - A(z) in units of pixels from 0 to 1, and ‖x - A(z)‖.
  function explain(network, pixels, lam, steps) {
    const x = standardise(network, pixels), code = encode(network.stem, x, lam, steps);
    const left = residual(network.stem, x, code), norm = Math.hypot(...left.data), size = x.side ** 2;
    const explained = image(3, x.side), rest = image(3, x.side);
    for (let i = 0; i < left.data.length; i++) {
      const c = Math.floor(i / size);
      rest.data[i] = left.data[i] * network.std[c];
      explained.data[i] = (x.data[i] - left.data[i]) * network.std[c] + network.mean[c];
    }
    return { code, explained, rest, norm, logits: scores(network, scaled(code, network.stem)) };
  }

  function residualNorm(network, pixels, lam) {
    const x = standardise(network, pixels), steps = network.stem.iterations;
    return Math.hypot(...residual(network.stem, x, encode(network.stem, x, lam, steps)).data);
  }

  return { bytesOf, decode, open, classify, explain, residualNorm };
}
