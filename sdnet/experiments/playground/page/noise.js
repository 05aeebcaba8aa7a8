/* The four noises of CIFAR-10-C, as in sdnet/data/corruptions.py, with random numbers that a seed repeats.

   One function without anything from outside, as in engine.js. */
function createNoise() {
  "use strict";

  // Mulberry32: small, fast, and good enough to look at. Uniform in [0, 1).
  function uniform(seed) {
    let state = Math.imul(seed + 1, 0x9e3779b1) | 0;
    return () => {
      state = (state + 0x6d2b79f5) | 0;
      let mixed = Math.imul(state ^ (state >>> 15), state | 1);
      mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
      return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
    };
  }

  // Box and Muller's; 1 - u is never zero.
  function normal(random) {
    return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  }

  // How many arrivals a waiting time of `mean` sees when the gaps between them are exponential.
  function poisson(random, mean) {
    let count = -1;
    for (let time = 0; time <= mean; count++) time -= Math.log(1 - random());
    return Math.max(0, count);
  }

  const NOISES = {
    gaussian_noise: (value, level, random) => value + level * normal(random),
    shot_noise: (value, level, random) => poisson(random, value * level) / level,
    impulse_noise: (value, level, random) => {
      const chance = random();
      return chance >= level ? value : chance >= level / 2 ? 1 : 0;
    },
    speckle_noise: (value, level, random) => value + level * value * normal(random),
  };

  // 8-bit pixels with noise; the same seed gives the same noise. "none" gives the pixels back.
  function addNoise(pixels, noise, level, seed) {
    if (noise === "none") return pixels;
    const random = uniform(seed), change = NOISES[noise];
    return Uint8Array.from(pixels, (pixel) => {
      const value = Math.min(1, Math.max(0, change(pixel / 255, level, random)));
      return Math.floor(value * 255 + 1e-5); // the fraction is cut off, as the benchmark does
    });
  }

  return { addNoise };
}
