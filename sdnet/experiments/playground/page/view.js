/* Numbers in, pictures and tables out; nothing here knows a network. */
const view = (() => {
  "use strict";
  const byId = (id) => document.getElementById(id);
  const percent = (share, digits = 0) => `${(100 * share).toFixed(digits)} %`;
  const SHORT = { airplane: "plane", automobile: "car" }; // where a column is narrow
  const short = (name) => SHORT[name] || name;

  // From zero to one through five colours of matplotlib's magma; brightness alone tells the order.
  const STOPS = [[11, 9, 26], [81, 18, 124], [183, 55, 121], [252, 137, 97], [252, 253, 191]];
  function magma(value) {
    const place = Math.min(0.9999, value) * (STOPS.length - 1), low = Math.floor(place);
    return STOPS[low].map((from, i) => from + (place - low) * (STOPS[low + 1][i] - from));
  }

  // colour(x, y) gives red, green and blue from 0 to 255.
  function paint(canvas, colour) {
    const { width, height } = canvas, context = canvas.getContext("2d"), image = context.createImageData(width, height);
    for (let i = 0; i < width * height; i++) {
      image.data.set([...colour(i % width, Math.floor(i / width)), 255], 4 * i);
    }
    context.putImageData(image, 0, 0);
  }

  const paintPixels = (canvas, pixels) =>
    paint(canvas, (x, y) => pixels.subarray(3 * (y * 32 + x), 3 * (y * 32 + x) + 3));

  function paintImage(canvas, { data }, zero = 0) {
    paint(canvas, (x, y) => [0, 1, 2].map((c) => 255 * (zero + data[c * 1024 + y * 32 + x])));
  }

  // Sixty-four maps, eight a row, with a line between them. What is not zero can be seen, however small.
  function paintCode(canvas, { data }) {
    const most = data.reduce((a, b) => Math.max(a, b), 1e-9);
    paint(canvas, (x, y) => {
      if (x % 33 === 32 || y % 33 === 32) return [128, 128, 138];
      const value = data[(Math.floor(y / 33) * 8 + Math.floor(x / 33)) * 1024 + (y % 33) * 32 + (x % 33)];
      return magma(value > 0 ? 0.3 + 0.7 * Math.sqrt(value / most) : 0);
    });
  }

  function softmax(logits) {
    const most = Math.max(...logits), powers = logits.map((value) => Math.exp(value - most));
    const sum = powers.reduce((a, b) => a + b);
    return powers.map((power) => power / sum);
  }

  function showLook(found, classes, truth) {
    paintPixels(byId("seen"), found.pixels);
    paintImage(byId("explained"), found.explained);
    paintImage(byId("rest"), found.rest, 0.5);
    paintCode(byId("code"), found.code);
    const zeros = found.code.data.reduce((count, value) => count + (value === 0), 0) / found.code.data.length;
    byId("zeros").textContent = percent(zeros, 1);
    byId("atoms").textContent = used(found.code);
    byId("norm").textContent = found.norm.toFixed(1);
    showScores(softmax(found.sdnet), softmax(found.resnet), classes, truth);
  }

  function used({ data, channels }) {
    const maps = Array.from({ length: channels }, (_, atom) => data.subarray(atom * 1024, (atom + 1) * 1024));
    return maps.filter((map) => map.some((value) => value > 0)).length;
  }

  function showScores(sdnet, resnet, classes, truth) {
    const bar = (share, who) =>
      `<td class="${who}"><span class="bar" style="width:${(100 * share).toFixed(1)}%"></span>` +
      `<span class="value">${percent(share)}</span></td>`;
    const row = (name, k) =>
      `<tr${k === truth ? ' class="truth"' : ""}><th scope="row">${name}</th>` +
      `${bar(sdnet[k], "sdnet")}${bar(resnet[k], "resnet")}</tr>`;
    byId("scores").innerHTML = classes.map(row).join("");
    const said = [["SDNet-18", "sdnet", sdnet], ["ResNet-18", "resnet", resnet]].map(([label, who, shares]) => {
      const k = shares.indexOf(Math.max(...shares));
      const right = k === truth ? " ✓" : "";
      return `<b class="${who}">${label}</b> says <b>${classes[k]}</b> (${percent(shares[k])})${right}`;
    });
    byId("verdict").innerHTML = `${said.join("; ")}.`;
  }

  // Right, the most frequent wrong one with its name, and the rest, of one column's counts by class.
  function shares(counts, truth, classes) {
    const all = counts.reduce((a, b) => a + b, 0) || 1;
    const wrong = counts.map((count, k) => (k === truth ? 0 : count)), most = Math.max(...wrong);
    const right = truth < 0 ? 0 : counts[truth] / all;
    return { right, wrong: most / all, other: 1 - right - most / all, name: most ? classes[wrong.indexOf(most)] : "" };
  }

  function column(head, counts, truth, classes) {
    const { right, wrong, other, name } = shares(counts, truth, classes);
    const part = (kind, share) => (share > 0.001 ? `<span class="${kind}" style="height:${100 * share}%"></span>` : "");
    const text = `${head}: right ${percent(right)}${name ? `, ${name} ${percent(wrong)}` : ""}`;
    const stack = part("other", other) + part("wrong", wrong) + part("right", right);
    const inside =
      `<span class="share">${Math.round(100 * right)}<span class="unit"> %</span></span>` +
      `<span class="stack">${stack}</span>` +
      `<span class="head">${head.replace("λ ", '<span class="unit">λ </span>')}</span>` +
      `<span class="instead">${short(name)}</span>`;
    return { text, inside };
  }

  // The columns are built once: what is redrawn must not lose the keyboard's place.
  function buildChart(lams, choose) {
    const chart = byId("chart");
    const button = '<button type="button" class="column"></button>';
    chart.innerHTML = `<div class="column resnet" role="img"></div>${button.repeat(lams.length)}`;
    chart.querySelectorAll("button").forEach((one, i) => one.addEventListener("click", () => choose(lams[i])));
  }

  function showChart(study, lams, lam, truth, classes) {
    const columns = [...byId("chart").children], counts = [study.resnet, ...study.sdnet];
    counts.forEach((count, i) => {
      const { text, inside } = column(i ? `λ ${lams[i - 1]}` : "ResNet", count, truth, classes);
      columns[i].innerHTML = inside;
      columns[i].setAttribute("aria-label", text);
      if (i) columns[i].setAttribute("aria-pressed", String(Math.abs(lams[i - 1] - lam) < 0.01));
    });
  }

  function showSame(rows, heads, classes) {
    const cell = (answer, row) => {
      if (answer === undefined) return "<td>·</td>";
      const name = short(classes[answer]);
      return answer === row.truth ? `<td class="right">${name} ✓</td>` : `<td class="wrong">${name}</td>`;
    };
    const line = (name, cells) => `<tr><th scope="row">${name}</th>${cells.join("")}</tr>`;
    byId("same-head").innerHTML = `<tr><td></td>${heads.map((head) => `<th scope="col">${head}</th>`).join("")}</tr>`;
    byId("same-body").innerHTML = rows
      .map((row) => line(row.name, heads.map((_, i) => cell(row.answers[i], row))))
      .join("");
    const most = heads.map((_, i) => frequent(rows.map((row) => row.answers[i])));
    const last = most.map(([k, n]) => `<td>${short(classes[k])} <small>${n} of ${rows.length}</small></td>`);
    byId("same-foot").innerHTML = rows.every((row) => row.answers.length) ? line("most frequent", last) : "";
  }

  function frequent(answers) {
    const count = (k) => answers.filter((answer) => answer === k).length;
    return answers.map((k) => [k, count(k)]).reduce((a, b) => (b[1] > a[1] ? b : a));
  }

  return { byId, percent, short, paintPixels, showLook, buildChart, showChart, showSame };
})();
