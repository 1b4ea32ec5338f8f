// Two numbers of each cell against each other, with the canvases as points: scores, losses, and what varied.

const TALL = 380, MOST_PICTURES = 120, POINT = 34; // pixels; points that are pictures

// Which numbers the charts of a grid show: what a search minimises, or the scores; and the first axis of numbers.
function chartsOf(grid, mine) {
  const known = numbersOf(grid, mine).map(([key]) => key);
  if (!known.length || mine.length < 2) return [];
  const scored = ["style_distance", "lpips_content"].filter(key => known.includes(key));
  const [y, x] = grid.goal.length ? [grid.goal[0], grid.goal[1] ?? "number"] : [scored[1] ?? known[0], scored[0] ?? "number"];
  const numeric = grid.axes.find(axis => axis.values && axis.values.length > 2);
  return numeric ? [[x, y], [numeric.key, y]] : [[x, y]];
}

function makeScatter(index, place, x, y) {
  const grid = grids[index], mine = cells.filter(cell => cell.grid === index);
  const pairs = numbersOf(grid, mine);
  const kept = [address.get(`${index}.x${place}`), address.get(`${index}.y${place}`)];
  const found = (key, otherwise) => (key === "number" || pairs.some(([known]) => known === key) ? key : otherwise);
  const shown = { index, x: found(kept[0], x), y: found(kept[1], y), figure: node("figure", "") };
  const choice = (axis, more) => {
    const select = options(document.createElement("select"), [...more, ...pairs], shown[axis]);
    select.addEventListener("change", () => {
      shown[axis] = select.value;
      remember(`${index}.${axis}${place}`, select.value);
      drawAnew(shown.figure);
    });
    return select;
  };
  const caption = node("figcaption", "", labelled("Up", choice("y", [])), labelled("across", choice("x", [["number", "number"]])), node("output", ""));
  shown.figure.className = "scores";
  shown.figure.append(caption);
  return shown;
}

const nameOf = (grid, key) => results[key] ?? grid.axes.find(axis => axis.key === key)?.name ?? "number";

// A scale from values to pixels: logarithmic where the values are powers rather than sums.
function scaleOf(key, values, from, to, air) {
  const low = Math.min(...values), high = Math.max(...values);
  const log = !BETTER_SMALL.includes(key) && low > 0 && high / low > 50;
  const by = log ? Math.log10 : value => value;
  const span = by(high) - by(low) || Math.abs(by(low)) || 1;
  const [least, most] = [by(low) - air * span, by(high) + air * span];
  const at = value => from + ((to - from) * (by(value) - least)) / (most - least);
  return { at, ticks: log ? ticks(least, most) : evenTicks(least, most), log };
}

function evenTicks(low, high) {
  const raw = (high - low) / 7, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map(digit => digit * power).find(one => one >= raw);
  const found = [];
  for (let count = Math.ceil(low / step); count * step <= high; count++) found.push(Number((count * step).toPrecision(12)));
  return found;
}

// All the digits of a tick: of a narrow range the first four are the same.
const exact = new Intl.NumberFormat("en-US", { maximumSignificantDigits: 8 });
const evenLabel = value => (value && (Math.abs(value) < 1e-3 || Math.abs(value) >= 1e6) ? shortNumber(value) : exact.format(value));

function drawScatter({ index, x, y, figure }) {
  const grid = grids[index];
  const points = cells.filter(cell => cell.grid === index).map(cell => ({ cell, x: valueOf(cell, x), y: valueOf(cell, y) }));
  const known = points.filter(point => point.x !== null && point.y !== null);
  figure.querySelector("svg")?.remove();
  const width = figure.clientWidth, left = 58, right = width - 24, top = 22, bottom = TALL - 40;
  if (width < 100) return;
  const svg = drawn("svg", { viewBox: `0 0 ${width} ${TALL}`, height: TALL, role: "group", "aria-label": `${nameOf(grid, y)} against ${nameOf(grid, x)}` });
  figure.append(svg);
  if (!known.length) {
    svg.append(drawn("text", { x: width / 2, y: TALL / 2, "text-anchor": "middle" }, "no cell has both numbers"));
    return;
  }
  const across = scaleOf(x, known.map(point => point.x), left, right, 0.06), up = scaleOf(y, known.map(point => point.y), bottom, top, 0.08);
  for (const value of up.ticks) {
    svg.append(drawn("line", { class: "rule", x1: left, x2: right, y1: up.at(value), y2: up.at(value) }));
    svg.append(drawn("text", { x: left - 6, y: up.at(value) + 4, "text-anchor": "end" }, up.log ? tickLabel(value) : evenLabel(value)));
  }
  for (const value of across.ticks) {
    svg.append(drawn("line", { class: "rule", x1: across.at(value), x2: across.at(value), y1: bottom, y2: bottom + 4 }));
    svg.append(drawn("text", { x: across.at(value), y: bottom + 17, "text-anchor": "middle" }, across.log ? tickLabel(value) : evenLabel(value)));
  }
  svg.append(drawn("text", { x: (left + right) / 2, y: TALL - 6, "text-anchor": "middle" }, nameOf(grid, x)));
  svg.append(drawn("text", { x: 12, y: (top + bottom) / 2, "text-anchor": "middle", transform: `rotate(-90 12 ${(top + bottom) / 2})` }, nameOf(grid, y)));
  for (const point of known) Object.assign(point, { px: across.at(point.x), py: up.at(point.y) });
  const front = x in results && y in results ? frontOf(known) : [];
  if (front.length > 1) svg.append(frontLine(front));
  if (grid.axes.some(axis => axis.key === x)) svg.append(...series(grid, known, x));
  const small = known.length > MOST_PICTURES;
  const marks = [...known].sort((one, other) => front.includes(one) - front.includes(other)).map(point => mark(point, front.includes(point), small));
  svg.append(...marks);
  const first = known.reduce((least, point) => (point.px < least.px ? point : least));
  for (const one of marks) one.setAttribute("tabindex", Number(one.dataset.cell) === first.cell.index ? 0 : -1);
}

// Points that no other is better than in both numbers: less is better.
function frontOf(points) {
  let least = Infinity;
  const order = [...points].sort((one, other) => one.x - other.x || one.y - other.y);
  return order.filter(point => {
    const better = point.y < least;
    if (better) least = point.y;
    return better;
  });
}

function frontLine(front) {
  const path = front.map(({ px, py }, at) => (at ? `H${px}V${py}` : `M${px} ${py}`)).join("");
  return drawn("path", { class: "front", d: path });
}

// Lines through the cells that differ in the axis that goes across, and in nothing else.
function series(grid, points, key) {
  const axis = grid.axes.findIndex(one => one.key === key);
  const groups = Map.groupBy(points, ({ cell }) => cell.at.filter((_, at) => at !== axis).join());
  return [...groups.values()].filter(group => group.length > 1).map((group, at) => {
    const order = group.sort((one, other) => one.px - other.px);
    return drawn("path", { class: `series c${at % COLOURS}`, d: `M${order.map(({ px, py }) => `${px} ${py}`).join("L")}` });
  });
}

function mark({ cell, px, py, x, y }, best, small) {
  const said = `${cell.label}: ${shortNumber(x)}, ${shortNumber(y)}${best ? ", on the front" : ""}`;
  const point = drawn("g", { class: `point${best ? " best" : ""}`, role: "button", "aria-label": said, "data-cell": cell.index });
  point.order = px;
  const image = buttons[cell.index].querySelector("img");
  if (small || !image) {
    point.append(drawn("circle", { cx: px, cy: py, r: best ? 5 : 4 }));
  } else {
    const [width, height] = cell.size, scale = POINT / Math.max(width, height);
    const box = { x: px - (width * scale) / 2, y: py - (height * scale) / 2, width: width * scale, height: height * scale };
    point.append(drawn("image", { ...box, href: image.src, preserveAspectRatio: "none" }), drawn("rect", box));
  }
  point.append(drawn("title", {}, said));
  point.addEventListener("click", () => enlarge(cell.index));
  return point;
}

for (const [name, grid] of Object.entries(grids)) {
  const index = Number(name), mine = cells.filter(cell => cell.grid === index);
  const made = chartsOf(grid, mine).map(([x, y], place) => makeScatter(index, place, x, y));
  document.querySelector(`#grid-${index} .scatters`).append(...made.map(scatter => scatter.figure));
  for (const scatter of made) keepDrawn(scatter.figure, () => drawScatter(scatter));
}
