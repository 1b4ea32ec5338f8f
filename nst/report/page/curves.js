// The loss curves of a row of cells, laid over one another: both axes are logarithmic, that of the
// iterations as the slider's moments are, so that the marker moves as evenly as the slider does.

const LETTER = 6.2, LINE = 13, COLOURS = 8, MOST_NAMES = 32, LEADER = 40; // pixels of a letter across, of a label down
let figures = [];

function drawn(name, attributes, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

// The values to label on a logarithmic axis from 10^low to 10^high.
function ticks(low, high) {
  const powers = [];
  for (let power = Math.ceil(low); power <= high; power++) powers.push(power);
  if (powers.length > 1) {
    const step = Math.ceil(powers.length / 7);
    return powers.filter(power => (power - powers[0]) % step === 0).map(power => 10 ** power);
  }
  const found = [];
  for (let power = Math.floor(low); power <= high; power++) {
    for (const digit of [1, 2, 3, 5, 7]) found.push(Number(`${digit}e${power}`));
  }
  const inside = found.filter(value => Math.log10(value) >= low && Math.log10(value) <= high);
  return inside.length > 1 ? inside : [10 ** low, 10 ** high].map(value => Number(value.toPrecision(3)));
}

function tickLabel(value) {
  const power = Math.log10(value);
  if (!Number.isInteger(power) || (power > -4 && power < 6)) return shortNumber(value);
  return `10${[...String(power)].map(sign => (sign === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[sign])).join("")}`;
}

// Its value at an iteration: that of the last point up to there.
function valueAt(curve, term, iteration) {
  let place = 0;
  while (place + 1 < curve.at.length && curve.at[place + 1] <= iteration) place++;
  return curve[term][place];
}

// The ranges of a grid's axes, common to all of its rows; null if a term is nowhere above zero.
const knownRanges = new Map();
function ranges(grid, term) {
  const key = `${grid} ${term}`;
  if (!knownRanges.has(key)) knownRanges.set(key, rangesOf(cells.filter(cell => cell.grid === grid && cell.curve), term));
  return knownRanges.get(key);
}

function rangesOf(shown, term) {
  let low = Infinity, high = 0, last = 0;
  for (const { curve } of shown) {
    last = Math.max(last, curve.at.at(-1));
    for (const value of curve[term]) {
      if (value === null) continue;
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
  }
  if (!high) return null;
  [low, high] = [Math.log10(low), Math.log10(high)];
  const air = (high - low) * 0.04 || 0.1;
  return { low: low - air, high: high + air, last };
}

// Where cells change to a larger size: x, and the size if there is room to say it.
function scaleMarks(shown, x, right) {
  const begins = new Map();
  for (const { scales } of shown) {
    let iteration = 0;
    for (const [size, iterations] of scales) {
      if (iteration) begins.set(iteration, begins.has(iteration) && begins.get(iteration) !== size ? "" : size);
      iteration += iterations;
    }
  }
  const marks = [...begins].sort(([one], [other]) => one - other).map(([iteration, size]) => ({ at: x(iteration), text: size && `${size} px` }));
  marks.forEach((mark, place) => {
    const room = (marks[place + 1]?.at ?? right) - mark.at;
    if (room < LETTER * (mark.text.length + 1)) mark.text = "";
  });
  return marks;
}

// Figures for the rows of a grid, in place of those it had.
function makeCharts(grid, rows) {
  const made = rows.map((words, row) => {
    const caption = node("figcaption", "", node("span", ""), words && ` · ${words}`, node("output", ""));
    const figure = node("figure", "", caption);
    figure.className = "chart";
    Object.assign(figure.dataset, { grid, row });
    figure.hidden = !cells.some(cell => cell.grid === grid && cell.row === row && cell.curve);
    return figure;
  });
  document.querySelector(`#grid-${grid} .charts`).replaceChildren(...made);
  figures = [...document.querySelectorAll(".chart")];
  for (const figure of made) keepDrawn(figure, () => drawChart(figure, term.value));
}

function drawChart(figure, term) {
  const grid = Number(figure.dataset.grid), row = Number(figure.dataset.row);
  const mine = cells.filter(cell => cell.grid === grid && cell.row === row && cell.curve);
  figure.querySelector("svg")?.remove();
  figure.querySelector("figcaption span").textContent = term === "total" ? terms.total : `${terms[term]}, unweighted`;
  const range = ranges(grid, term);
  const shown = mine.filter(cell => cell.curve[term].some(value => value !== null));
  const named = shown.length <= MOST_NAMES ? shown : [];
  const width = Math.max(figure.clientWidth, 260), height = Math.max(230, 44 + named.length * LINE);
  const longest = Math.max(0, ...named.map(cell => cell.head.length));
  const letters = Math.min(longest, Math.floor((width * 0.36) / LETTER));
  const left = 58, right = width - (letters * LETTER + 22), top = 8, bottom = height - 36;
  const svg = drawn("svg", { viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": figure.querySelector("figcaption").firstChild.textContent });
  svg.append(drawn("rect", { class: "frame", x: left, y: top, width: right - left, height: bottom - top }));
  figure.append(svg);
  if (!range) {
    svg.append(drawn("text", { x: (left + right) / 2, y: (top + bottom) / 2, "text-anchor": "middle" }, "nothing above zero"));
    return;
  }
  const x = iteration => left + (right - left) * (range.last ? Math.log10(1 + iteration) / Math.log10(1 + range.last) : 0);
  const y = value => top + ((bottom - top) * (range.high - Math.log10(value))) / (range.high - range.low);

  for (const value of ticks(range.low, range.high)) {
    svg.append(drawn("line", { class: "rule", x1: left, x2: right, y1: y(value), y2: y(value) }));
    svg.append(drawn("text", { class: "y", x: left - 6, y: y(value) + 4, "text-anchor": "end", "data-value": value }, tickLabel(value)));
  }
  for (let iteration = 0; iteration <= range.last; iteration = iteration * 10 || 1) {
    svg.append(drawn("line", { class: "rule", x1: x(iteration), x2: x(iteration), y1: bottom, y2: bottom + 4 }));
    svg.append(drawn("text", { class: "x", x: x(iteration), y: bottom + 16, "text-anchor": "middle", "data-value": iteration }, grouped(iteration)));
  }
  svg.append(drawn("text", { x: (left + right) / 2, y: height - 4, "text-anchor": "middle" }, "iteration"));
  for (const { at, text } of scaleMarks(shown, x, right)) {
    svg.append(drawn("line", { class: "scale", x1: at, x2: at, y1: top, y2: bottom }));
    if (text) svg.append(drawn("text", { class: "scale", x: at + 3, y: top + 11 }, text));
  }
  const middle = (top + bottom) / 2;
  svg.append(drawn("text", { x: 10, y: middle, "text-anchor": "middle", transform: `rotate(-90 10 ${middle})` }, "loss"));
  svg.append(drawn("line", { class: "now", y1: top, y2: bottom }));

  const curves = shown.map(cell => curveOf(cell, term, x, y));
  if (named.length) labelEnds(curves, right, top, bottom, letters);
  svg.append(...curves.map(curve => curve.node));
  curves.forEach((curve, place) => curve.node.setAttribute("tabindex", place ? -1 : 0));
  figure.now = iteration => x(Math.min(iteration, range.last));
  markCurves(times[position] ?? 0, term);
}

function curveOf(cell, term, x, y) {
  let path = "", end = 0, pen = "M";
  cell.curve.at.forEach((iteration, place) => {
    const value = cell.curve[term][place];
    if (value === null) {
      pen = "M";
      return;
    }
    path += `${pen}${x(iteration).toFixed(2)} ${(end = y(value)).toFixed(2)}`;
    pen = "L";
  });
  const last = cell.curve[term].findLast(value => value !== null);
  const label = `${cell.label}: ${terms[term]} ${shortNumber(last)} at the end`;
  const name = `curve c${cell.column % COLOURS}${cell.column >= COLOURS ? " again" : ""}`;
  const node = drawn("g", { class: name, role: "img", "aria-label": label, "data-cell": cell.index });
  node.append(drawn("path", { class: "reach", d: path }), drawn("path", { class: "line", d: path }));
  const reach = x(cell.curve.at.at(-1));
  if (/^diverged/.test(Object.fromEntries(cell.about).state)) node.append(drawn("text", { class: "broken", x: reach, y: end + 5, "text-anchor": "middle" }, "×"));
  return { node, end, reach, head: cell.head };
}

// The name of each curve at its end, moved apart where they would cover one another.
function labelEnds(curves, right, top, bottom, letters) {
  const order = [...curves].sort((one, other) => one.end - other.end);
  let free = top + LINE / 2;
  for (const curve of order) {
    curve.label = Math.max(curve.end, free);
    free = curve.label + LINE;
  }
  let below = bottom + LINE / 2;
  for (const curve of order.toReversed()) {
    curve.label = Math.min(curve.label, below);
    below = curve.label - LINE;
  }
  for (const { node, end, reach, label, head } of curves) {
    // Of one that ends early, a line to its name would look like more of it.
    if (right - reach < LEADER) node.append(drawn("line", { class: "leader", x1: reach, y1: end, x2: right + 14, y2: label }));
    node.append(drawn("text", { x: right + 18, y: label + 4 }, elided(head, letters)));
  }
}

// Mark an iteration in all charts, and say the value there of the curve that is pointed at.
function markCurves(iteration, term) {
  for (const figure of figures) {
    const marker = figure.querySelector(".now");
    if (!marker) continue;
    const at = figure.now(iteration);
    marker.setAttribute("x1", at);
    marker.setAttribute("x2", at);
    const lit = figure.querySelector(".curve.lit");
    const cell = lit && cells[lit.dataset.cell];
    const value = cell && valueAt(cell.curve, term, iteration);
    figure.querySelector("output").textContent = cell ? `${elided(cell.head, 24)}: ${shortNumber(value)} at ${grouped(iteration)}` : "";
  }
}
