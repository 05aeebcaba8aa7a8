/* Adversaries: stored perturbations of the page's pictures, how many pictures stay right, and what the ledger says. */
function createAdversary(attacks, pictures, start, choose, bytesOf) {
  "use strict";
  const { lams, adversaries, sdnet, resnet, ledger } = attacks;
  const { byId } = view, WHO = Object.keys(adversaries), answers = pictures.map(() => null);
  const STRONGER = 10; // to be seen at all

  // λ of the stored perturbations that is nearest to the one set.
  const nearest = (lam) =>
    lams.reduce((best, one) => (Math.abs(one - lam) < Math.abs(best - lam) - 1e-9 ? one : best));
  const madeFor = (who, lam) => (who === "adaptive" ? nearest(lam) : nearest(start));

  function shifted(pixels, base64) {
    const shift = new Int8Array(bytesOf(base64).buffer);
    return pixels.map((pixel, i) => pixel + shift[i]);
  }

  // What each network is shown: its own adversary's picture.
  function seen(i, who, lam) {
    const { pixels } = pictures[i];
    if (who === "none") return { pixels, others: pixels };
    const own = sdnet[lams.indexOf(madeFor(who, lam))][i];
    return { pixels: shifted(pixels, own), others: shifted(pixels, resnet[0][i]) };
  }

  // What changes in the worker's job when there is an adversary.
  function changes({ picture, adversary, lam }) {
    return adversary === "none" ? {} : { ...seen(pictures.indexOf(picture), adversary, lam), noise: "none" };
  }

  // All that has to be classified of a picture, each once: SDNet for every adversary and λ, ResNet for every adversary.
  const cases = (i) => ({
    sdnet: WHO.flatMap((who) => lams.map((lam) => ({ pixels: seen(i, who, lam).pixels, lam }))),
    resnet: WHO.map((who) => seen(i, who, start).others),
  });

  // Asks the worker for every picture that has not been classified, and shows the table when all are.
  async function survey(worker, state) {
    for (let i = 0; i < pictures.length; i++) {
      if (state.adversary === "none") return;
      byId("attacked-progress").textContent = answers[i] ? "" : `${i} of ${pictures.length} so far.`;
      answers[i] = answers[i] || (await worker.ask("survey", cases(i)));
    }
    byId("attacked-progress").textContent = "";
    showCounts(state);
  }

  // How many pictures are right as they are and perturbed: for ResNet, then for SDNet at every λ.
  function counts(who) {
    const at = WHO.indexOf(who);
    const right = ({ sdnet: ours, resnet: theirs }, { truth }) => (row) =>
      [theirs[row], ...ours.slice(row * lams.length, (row + 1) * lams.length)].map((answer) => answer === truth);
    const rows = answers.map((found, i) => [right(found, pictures[i])(0), right(found, pictures[i])(at)]);
    return [0, ...lams].map((_, k) => rows.filter(([usual, now]) => usual[k] && now[k]).length);
  }

  /* ---- what is shown ---- */

  const cellsOf = (values) => values.map((value) => `<td>${value}</td>`).join("");
  const row = (who, values) =>
    `<tr data-who="${who}"><th scope="row">${adversaries[who]}</th>${cellsOf(values)}</tr>`;
  const head = (labels) => `<tr><td></td>${labels.map((label) => `<th scope="col">${label}</th>`).join("")}</tr>`;

  function buildTables() {
    const buttons = lams.map((lam) => `<button type="button" data-lam="${lam}">λ ${lam}</button>`);
    byId("attacked-head").innerHTML = head(["ResNet", ...buttons]);
    byId("attacked-head").addEventListener("click", ({ target }) => {
      if (target.dataset.lam) choose(Number(target.dataset.lam));
    });
    const percent = (found) => {
      if (!found) return "not run";
      return `${found.value.toFixed(1)} <small>of ${found.n.toLocaleString("en")}</small>`;
    };
    byId("ledger-head").innerHTML = head(["ResNet", ...lams.map((lam) => `λ ${lam}`)]);
    byId("ledger-body").innerHTML = WHO.map((who) => row(who, ledger.rows[who].map(percent))).join("");
    byId("ledger-about").textContent = about();
  }

  function about() {
    if (!ledger.about) return "It has no attack on an SDNet-18 yet.";
    const { called, width, epochs } = ledger.about;
    const seeds = WHO.flatMap((who) => ledger.rows[who]).filter(Boolean).map((found) => found.seeds);
    const few = Math.min(...seeds), many = Math.max(...seeds), range = few === many ? many : `${few} to ${many}`;
    const trained = many === 1 ? "One network of each kind" : `${range} networks of each kind, and their mean`;
    return `${trained}: width ${width}, ${epochs} epochs of training, test images of ${called}.`;
  }

  function showCounts(state) {
    const done = answers.every(Boolean), found = Object.fromEntries(WHO.map((who) => [who, done ? counts(who) : []]));
    const cells = (who) => (done ? found[who] : ["…", ...lams.map(() => "…")]);
    byId("attacked-body").innerHTML = WHO.map((who) => row(who, cells(who))).join("");
    document.querySelectorAll("#attack tr[data-who]").forEach((line) => {
      line.classList.toggle("chosen", line.dataset.who === state.adversary);
    });
    document.querySelectorAll("#attacked-head button").forEach((button) => {
      button.setAttribute("aria-pressed", String(Math.abs(Number(button.dataset.lam) - state.lam) < 0.01));
    });
    if (done) summarise(found);
  }

  function summarise({ oblivious, adaptive }) {
    const best = oblivious.slice(1).reduce((top, count, k, all) => (count > all[top] ? k : top), 0);
    const [few, most] = [adaptive, oblivious].map((counted) => counted[best + 1]);
    say("attacked-summary", `Best for the defender is λ = ${lams[best]}. There, ${most} of ${pictures.length} ` +
      `pictures are still right if the adversary does not know λ, and ${few} if it does.`);
  }

  // What a screen reader reads aloud when it changes is not set again.
  function say(id, text) {
    if (byId(id).textContent !== text) byId(id).textContent = text;
  }

  function note({ adversary, lam, picture }) {
    if (!pictures.includes(picture)) return "Changes are stored for the page's own pictures, not for yours.";
    if (adversary === "none") return "";
    const stored = nearest(lam), same = Math.abs(stored - lam) < 0.01;
    const near = same ? "" : ", of the stored ones the nearest to yours";
    const made = "The change was made against SDNet-18 at";
    const text = {
      oblivious: `${made} λ = ${nearest(start)}, as it was trained. Turn λ: the change stays.`,
      adaptive: `${made} λ = ${stored}${near}. Turn λ: the change follows.`,
    };
    return `${text[adversary]} ResNet-18 has no λ and gets a change of its own. There is no noise meanwhile.`;
  }

  // The picture, what is added to it, and the sum.
  function show(state) {
    say("adversary-note", note(state));
    if (state.adversary === "none") return;
    const { pixels } = state.picture, now = changes(state).pixels;
    view.paintPixels(byId("before"), pixels);
    view.paintPixels(byId("shift"), pixels.map((pixel, i) => 128 + STRONGER * (now[i] - pixel)));
    view.paintPixels(byId("after"), now);
    showCounts(state);
  }

  buildTables();
  return { changes, survey, show };
}
