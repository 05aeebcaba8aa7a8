/* What the reader chooses, and who computes what when it changes. */
(() => {
  "use strict";
  const { byId } = view, { classes, lams, lines, severities } = PLAYGROUND;
  const DRAWS = 24, SOME = [0.1, 0.5, 0.9, 1.5];
  const tools = createEngine();
  const pictures = PLAYGROUND.pictures.map(({ label, credit, pixels }) => ({
    name: label, credit, pixels: tools.bytesOf(pixels), truth: classes.indexOf(label),
  }));
  // Three workers: one for the sliders, one for many draws, one for all pictures.
  const [looking, counting, comparing] = [0, 1, 2].map(() => startWorker(PLAYGROUND));

  const { lam: start, iterations } = PLAYGROUND.networks.sdnet.stem;
  const choose = (lam) => set({ lam });
  const adversary = createAdversary(ATTACKS, pictures, start, choose, tools.bytesOf);

  const state = {
    picture: pictures[0], noise: "gaussian_noise", severity: 5, draw: 1, lam: 0.1, steps: 2, adversary: "none",
  };
  let study = null, chosen = null;

  const opposed = () => state.adversary !== "none";

  const job = (picture = state.picture, draw = state.draw) => ({
    pixels: picture.pixels, noise: state.noise, draw, steps: state.steps,
    level: state.noise === "none" ? 0 : severities[state.noise][state.severity - 1],
  });

  // Runs `once` again and again until nothing has changed meanwhile; never twice at a time.
  function latest(once) {
    let wanted = 0, running = false;
    return async () => {
      wanted++;
      if (running) return;
      running = true;
      try {
        for (let seen = 0; seen !== wanted; ) {
          seen = wanted;
          await once(() => seen === wanted);
        }
      } finally {
        running = false;
      }
    };
  }

  const look = latest(async () => {
    const { truth } = state.picture;
    const told = { ...job(), ...adversary.changes(state), lam: state.lam };
    view.showLook(await looking.ask("look", told), classes, truth);
  });

  const count = latest(async (still) => {
    const draws = state.noise === "none" ? 1 : DRAWS, empty = () => new Array(classes.length).fill(0);
    study = { resnet: empty(), sdnet: lams.map(empty), residual: 0, draws: 0 };
    byId("chart").setAttribute("aria-busy", "true");
    while (study.draws < draws) {
      const found = await counting.ask("answers", { ...job(state.picture, study.draws + 1), lams });
      if (!still() || opposed()) return;
      study.resnet[found.resnet]++;
      found.sdnet.forEach((answer, i) => study.sdnet[i][answer]++);
      study.residual += (found.residual - study.residual) / ++study.draws;
      showStudy(draws);
    }
    byId("chart").setAttribute("aria-busy", "false");
  });

  const compare = latest(async (still) => {
    const rows = pictures.map((picture) => ({ ...picture, name: view.short(picture.name), answers: [] }));
    const heads = ["ResNet", ...SOME.map((lam) => `λ ${lam}`)];
    for (const row of rows) {
      const found = await comparing.ask("answers", { ...job(row), lams: SOME });
      if (!still() || opposed()) return;
      row.answers = [found.resnet, ...found.sdnet];
      view.showSame(rows, heads, classes);
    }
  });

  const survey = latest(() => adversary.survey(comparing, state));

  function showStudy(draws) {
    view.showChart(study, lams, state.lam, state.picture.truth, classes);
    const some = study.draws === draws ? `${draws} draws.` : `${study.draws} of ${draws} draws so far.`;
    byId("progress").textContent = draws === 1 ? "Without noise all draws are alike." : some;
    advise();
  }

  // Lines 13 and 14 of Algorithm 1: λ from the mean residual of the batch, which here is all draws so far.
  function advise() {
    if (opposed()) return;
    const clip = (lam, { low, high }) => Math.min(high, Math.max(low, lam));
    const along = (line) => clip(line.slope * study.residual + line.intercept, line);
    const own = lines[state.noise], any = along(lines.all);
    chosen = own ? along(own) : any;
    const others = `on this kind of noise; the line fitted on all four says ${any.toFixed(2)}`;
    const which = own ? others : "on all four noises";
    const steps = state.steps === iterations ? "" : ` It was fitted for the ${iterations} steps of training.`;
    byId("advice").innerHTML = `Mean residual at λ = ${start.toFixed(1)}: ${study.residual.toFixed(1)}. ` +
      `<b>Algorithm 1 would choose λ = ${chosen.toFixed(2)}</b> (fitted ${which}).${steps}`;
    byId("follow").disabled = false;
    mark("mark-chosen", chosen);
  }

  function mark(id, lam) {
    byId(id).hidden = false;
    byId(id).style.setProperty("--at", lam / 1.5);
  }

  /* ---- controls ---- */

  function set(change) {
    Object.assign(state, change);
    for (const name of ["severity", "draw", "steps", "lam"]) {
      byId(name).value = state[name];
      byId(`${name}-now`).textContent = name === "lam" ? state.lam.toFixed(2) : state[name];
    }
    byId("severity").disabled = byId("draw").disabled = state.noise === "none";
    const own = !pictures.includes(state.picture);
    byId("own-class").hidden = !own;
    byId("adversary").disabled = own;
    byId("credit").textContent = `Picture: ${state.picture.name}, ${state.picture.credit}.`;
    const keys = Object.keys(change), has = (...names) => names.some((name) => keys.includes(name));
    look();
    adversary.show(state);
    if (has("adversary")) oppose();
    if (opposed()) {
      survey();
      return;
    }
    if (has("picture", "noise", "severity", "steps", "adversary")) count();
    else if (study && study.draws) view.showChart(study, lams, state.lam, state.picture.truth, classes);
    if (has("noise", "severity", "steps", "draw", "adversary")) compare();
  }

  // Noise and adversary take turns: what belongs to the one is hidden while there is the other.
  function oppose() {
    const now = opposed();
    byId("disturbance").disabled = now;
    byId("noisy").hidden = now;
    byId("attack").hidden = !now;
    byId("follow").disabled ||= now;
    byId("mark-chosen").hidden ||= now;
    if (now) byId("advice").textContent = "Algorithm 1 reads λ off noise; it was not made for adversaries.";
    document.querySelector(`#adversary [value=${state.adversary}]`).checked = true;
  }

  function buildPictures() {
    const box = byId("pictures");
    pictures.forEach((picture, i) => {
      box.insertAdjacentHTML("beforeend",
        `<label title="${picture.name}"><input type="radio" name="picture" value="${i}"${i ? "" : " checked"}>` +
        `<canvas width="32" height="32" aria-hidden="true"></canvas><span>${view.short(picture.name)}</span></label>`);
      view.paintPixels(box.lastElementChild.querySelector("canvas"), picture.pixels);
    });
    box.addEventListener("change", (event) => set({ picture: pictures[event.target.value] }));
    const options = classes.map((name, k) => `<option value="${k}">${name}</option>`);
    byId("truth").innerHTML = `<option value="-1">none of these</option>${options.join("")}`;
  }

  function takeOwn(pixels, name) {
    byId("problem").textContent = "";
    document.querySelectorAll("#pictures input").forEach((input) => { input.checked = false; });
    const truth = Number(byId("truth").value);
    const picture = { name, credit: "your own, which stays on your machine", pixels, truth };
    set({ picture, adversary: "none" });
  }

  function connect() {
    for (const name of ["severity", "draw", "steps", "lam"]) {
      byId(name).addEventListener("input", (event) => set({ [name]: Number(event.target.value) }));
    }
    byId("noise").addEventListener("change", (event) => set({ noise: event.target.value }));
    byId("truth").addEventListener("change", ({ target }) => {
      set({ picture: { ...state.picture, truth: Number(target.value) } });
    });
    // The changes were made against a network of as many steps as it was trained with.
    byId("adversary").addEventListener("change", ({ target }) => set({ adversary: target.value, steps: iterations }));
    byId("follow").addEventListener("click", () => set({ lam: chosen }));
    byId("controls").addEventListener("submit", (event) => event.preventDefault());
    own.listen(byId("file"), document.body, takeOwn, (error) => { byId("problem").textContent = error.message; });
  }

  // Inside the book: say how high the page is, and take the book's light or dark.
  function embed() {
    byId("alone").hidden = true;
    document.body.classList.add("framed");
    const height = () => Math.ceil(document.body.getBoundingClientRect().height);
    new ResizeObserver(() => parent.postMessage({ height: height() }, "*")).observe(document.body);
    addEventListener("message", ({ source, data }) => {
      const known = source === parent && ["dark", "light"].includes(data.theme);
      if (known) document.documentElement.style.colorScheme = data.theme;
    });
  }

  buildPictures();
  view.buildChart(lams, choose);
  mark("mark-trained", start);
  connect();
  if (parent !== window) embed();
  set({ ...state });
})();
