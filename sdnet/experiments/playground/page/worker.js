/* Networks that run beside the page, so that sliders never wait for them.

   The worker is made of the functions' own text: a page opened from disk may not load a worker's file. */

// What a worker does: `look` explains one picture, `answers` classifies one noise draw at many λ, and `survey` pictures
// as they are. Where there are `others`, ResNet is shown those.
function workerBody(engine, noises) {
  "use strict";
  let sdnet, resnet;

  const best = (logits) => logits.indexOf(Math.max(...logits));
  const disturbed = (told) => noises.addNoise(told.pixels, told.noise, told.level, told.draw);

  const jobs = {
    open({ networks, weights, dtype }) {
      const all = engine.decode(weights, dtype);
      sdnet = engine.open(networks.sdnet, all);
      resnet = engine.open(networks.resnet, all);
    },
    look(told) {
      const pixels = disturbed(told);
      const found = engine.explain(sdnet, pixels, told.lam, told.steps);
      return { ...found, pixels, sdnet: found.logits, resnet: engine.classify(resnet, told.others || pixels) };
    },
    answers(told) {
      const pixels = disturbed(told), { lam } = sdnet.stem;
      return {
        sdnet: told.lams.map((value) => best(engine.classify(sdnet, pixels, value, told.steps))),
        resnet: best(engine.classify(resnet, pixels)),
        residual: engine.residualNorm(sdnet, pixels, lam),
      };
    },
    survey(told) {
      const { iterations } = sdnet.stem;
      return {
        sdnet: told.sdnet.map(({ pixels, lam }) => best(engine.classify(sdnet, pixels, lam, iterations))),
        resnet: told.resnet.map((pixels) => best(engine.classify(resnet, pixels))),
      };
    },
  };
  self.onmessage = ({ data: { id, job, told } }) => self.postMessage({ id, found: jobs[job](told) });
}

// A worker that answers questions: ask("look", {...}) is a promise.
function startWorker(playground) {
  const text = `(${workerBody})((${createEngine})(), (${createNoise})());`;
  const worker = new Worker(URL.createObjectURL(new Blob([text], { type: "text/javascript" })));
  const waiting = new Map();
  let count = 0;
  const ask = (job, told) =>
    new Promise((resolve, reject) => {
      waiting.set(++count, { resolve, reject });
      worker.postMessage({ id: count, job, told });
    });
  worker.onmessage = ({ data: { id, found } }) => {
    waiting.get(id).resolve(found);
    waiting.delete(id);
  };
  worker.onerror = (event) => waiting.forEach(({ reject }) => reject(new Error(event.message)));
  const { networks, weights, dtype } = playground;
  ask("open", { networks, weights, dtype });
  return { ask };
}
