// One slider for all videos, one light for all that shows a cell, a dialog for a closer look.

const $ = id => document.getElementById(id);
const bar = $("bar"), slider = $("slider"), speed = $("speed"), term = $("term"), dialog = $("large");
const buttons = cells.map((_, index) => document.querySelector(`button.canvas[data-cell="${index}"]`));
const last = times.at(-1) ?? 0;
let position = times.length - 1, timer = 0, open = -1;

cells.forEach((cell, index) => (cell.index = index));
for (const image of document.querySelectorAll("[data-same]")) image.src = $(image.dataset.same).src;

// Videos.

const decoded = strips.map(() => null);
const inView = new Set();

function framesOf(cell) {
  decoded[cell.strip] ??= strips[cell.strip].map(frame => {
    const image = new Image();
    image.src = `data:image/webp;base64,${frame}`;
    return image;
  });
  return decoded[cell.strip];
}

// Show in a place (a button, or the dialog's) its cell's canvas as it was at the slider's moment.
function paint(place, cell) {
  const frame = cell.shows[position] ?? null;
  let canvas = place.querySelector("canvas");
  place.classList.toggle("absent", frame !== null && cell.strip === null);
  if (frame === null || cell.strip === null) {
    if (canvas) canvas.hidden = true;
    return;
  }
  const image = framesOf(cell)[frame];
  if (!image.complete) {
    image.addEventListener("load", () => place.shown === cell && paint(place, cell), { once: true });
    return;
  }
  if (!canvas) {
    canvas = document.createElement("canvas");
    canvas.setAttribute("aria-hidden", "true");
    place.append(canvas);
  }
  const [width, height] = cell.size;
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  canvas.getContext("2d").drawImage(image, 0, 0, width, height);
  canvas.hidden = false;
}

function show(moment) {
  position = moment;
  slider.value = moment;
  const text = times.length ? `iteration ${grouped(times[moment])} of ${grouped(last)}` : "no videos";
  slider.setAttribute("aria-valuetext", text);
  $("moment").textContent = text;
  for (const index of inView) paint(buttons[index], cells[index]);
  if (open >= 0) {
    const cell = cells[open];
    paint($("large-canvas"), cell);
    const own = `iteration ${grouped(Math.min(times[moment], cell.last))} of ${grouped(cell.last)}`;
    $("large-moment").textContent = cell.shows.length ? own : "";
  }
  markCurves(times[position] ?? 0, term.value);
}

// Only videos in view are decoded and drawn: those of a long page would not fit a phone's memory.
const watch = new IntersectionObserver(entries => {
  for (const { target, isIntersecting } of entries) {
    const index = Number(target.dataset.cell), cell = cells[index];
    if (!isIntersecting) {
      inView.delete(index);
      continue;
    }
    inView.add(index);
    if (cell.strip !== null) framesOf(cell);
    paint(target, cell);
  }
}, { rootMargin: "300px" });
buttons.forEach((button, index) => {
  button.shown = cells[index];
  watch.observe(button);
});

function step() {
  if (position >= times.length - 1) return pause();
  show(position + 1);
  timer = setTimeout(step, 1000 / speed.value);
}

function pause() {
  clearTimeout(timer);
  timer = 0;
  for (const button of document.querySelectorAll(".play")) button.textContent = "Play";
}

function toggle() {
  if (timer) return pause();
  if (times.length < 2) return;
  if (position >= times.length - 1) show(0);
  for (const button of document.querySelectorAll(".play")) button.textContent = "Pause";
  timer = setTimeout(step, 1000 / speed.value);
}

slider.max = Math.max(times.length - 1, 0);
slider.disabled = times.length < 2;
slider.addEventListener("input", () => {
  pause();
  show(Number(slider.value));
});
for (const button of document.querySelectorAll(".play")) {
  button.disabled = times.length < 2;
  button.addEventListener("click", toggle);
}

// Curves.

for (const [name, text] of Object.entries(terms)) term.append(new Option(text, name));
function redraw() {
  drawCurves(term.value);
  markCurves(times[position] ?? 0, term.value);
}
term.addEventListener("change", redraw);
const widths = new WeakMap();
const resized = new ResizeObserver(entries => {
  const changed = entries.filter(({ target }) => widths.get(target) !== target.clientWidth);
  for (const { target } of changed) widths.set(target, target.clientWidth);
  if (changed.length) redraw();
});
for (const figure of figures) {
  figure.hidden = false; // a hidden one has no width to draw to
  resized.observe(figure);
}

// What is pointed at, or has the focus, is lit wherever the page shows it.

function light(target) {
  for (const node of document.querySelectorAll(".lit")) node.classList.remove("lit");
  const index = target?.closest?.("main [data-cell]")?.dataset.cell;
  if (index) for (const node of document.querySelectorAll(`main [data-cell="${index}"]`)) node.classList.add("lit");
  markCurves(times[position] ?? 0, term.value);
}
document.addEventListener("mouseover", event => light(event.target));
document.addEventListener("focusin", event => light(event.target));
document.addEventListener("focusout", () => light(null));

// The dialog.

function node(name, text, ...children) {
  const made = document.createElement(name);
  made.textContent = text;
  made.append(...children);
  return made;
}

function lines(pairs) {
  const list = node("dl", "");
  for (const [name, value] of pairs) {
    const link = /^https?:\/\//.test(value) && name === "MLflow run";
    const said = link ? node("a", value) : value;
    if (link) Object.assign(said, { href: value, target: "_blank", rel: "noreferrer" });
    list.append(node("dt", name), node("dd", "", said));
  }
  return list;
}

function enlarge(index) {
  open = index;
  const cell = cells[index], place = $("large-canvas"), button = buttons[index];
  place.shown = cell;
  place.className = button.className.replace("lit", "");
  place.replaceChildren(...[...button.children].filter(child => child.tagName !== "CANVAS").map(child => child.cloneNode(true)));
  for (const image of place.querySelectorAll("img")) image.removeAttribute("id");
  $("large-title").textContent = cell.label;
  $("facts").replaceChildren(...cell.facts.filter(([, pairs]) => pairs.length).map(([heading, pairs]) => {
    if (heading !== "All parameters") return node("div", "", node("h3", heading), lines(pairs));
    return node("details", "", node("summary", heading), lines(pairs));
  }));
  const images = cell.inputs.map(([kind, picture]) => {
    const image = new Image();
    image.src = $(picture).src;
    image.alt = `${kind} image`;
    return node("figure", "", image, node("figcaption", kind));
  });
  $("large-inputs").replaceChildren(...images);
  $("earlier").disabled = !inOrder(index, -1);
  $("later").disabled = !inOrder(index, 1);
  if (!dialog.open) dialog.showModal();
  dialog.focus(); // on none of its buttons, so that Space plays here too
  show(position);
}

// The index after or before one in the same grid, in reading order.
function inOrder(index, by) {
  return cells[index + by]?.grid === cells[index].grid ? [index + by] : null;
}

function turn(by) {
  const next = inOrder(open, by);
  if (next) enlarge(next[0]);
}

buttons.forEach((button, index) => button.addEventListener("click", () => enlarge(index)));
$("earlier").addEventListener("click", () => turn(-1));
$("later").addEventListener("click", () => turn(1));
$("close").addEventListener("click", () => dialog.close());
dialog.addEventListener("click", event => event.target === dialog && dialog.close());
dialog.addEventListener("close", () => {
  buttons[open]?.focus();
  open = -1;
});

// Keys. Each grid is one stop of the Tab key, and each chart.

function rove(all, chosen) {
  for (const one of all) one.tabIndex = one === chosen ? 0 : -1;
  chosen.focus();
}

function neighbour(cell, across, down) {
  const found = cells.filter(other => other.grid === cell.grid
    && (across ? other.row === cell.row : other.column === cell.column)
    && (across ? (other.column - cell.column) * across > 0 : (other.row - cell.row) * down > 0));
  const distance = other => Math.abs(other.column - cell.column) + Math.abs(other.row - cell.row);
  return found.sort((one, other) => distance(one) - distance(other))[0];
}

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  const { target, key } = event;
  const arrow = ARROWS[key];
  if (key === " " && !target.closest("button:not(.canvas), select, a, summary")) {
    event.preventDefault();
    toggle();
  } else if (arrow && dialog.open && arrow[0] && !target.closest("select, input")) {
    event.preventDefault();
    turn(arrow[0]);
  } else if (arrow && target.closest("button.canvas")) {
    event.preventDefault();
    const next = neighbour(target.shown, ...arrow);
    if (next) rove(buttons.filter((_, index) => cells[index].grid === next.grid), buttons[next.index]);
  } else if (arrow && target.closest(".curve")) {
    event.preventDefault();
    const curves = [...target.parentNode.querySelectorAll(".curve")];
    const next = curves[curves.indexOf(target) + arrow[0] + arrow[1]];
    if (next) rove(curves, next);
  }
});
// Space, which plays, is not to press the canvas it is played from when it is let go.
document.addEventListener("keyup", event => event.key === " " && event.target.closest(".canvas") && event.preventDefault());
buttons.forEach((button, index) => (button.tabIndex = cells[index - 1]?.grid === cells[index].grid ? -1 : 0));

// Tables that sort, commands that copy.

function sortBy(head) {
  const column = head.cellIndex, body = head.closest("table").tBodies[0];
  const up = head.ariaSort !== "ascending";
  for (const other of head.parentNode.cells) other.ariaSort = "none";
  head.ariaSort = up ? "ascending" : "descending";
  const key = row => row.cells[column].dataset.value ?? row.cells[column].textContent;
  const rows = [...body.rows].sort((one, other) => {
    const [a, b] = [key(one), key(other)];
    if (!a || !b) return (a ? 0 : 1) - (b ? 0 : 1); // what is missing comes last, either way
    const order = isNaN(a) || isNaN(b) ? a.localeCompare(b, "en", { numeric: true }) : a - b;
    return up ? order : -order;
  });
  body.append(...rows);
}
for (const head of document.querySelectorAll(".numbers thead th")) head.firstChild.addEventListener("click", () => sortBy(head));

for (const button of document.querySelectorAll(".copy")) {
  button.addEventListener("click", () => {
    getSelection().selectAllChildren(button.previousSibling);
    // The clipboard's newer interface is not there in the frame that MLflow shows this page in.
    button.textContent = document.execCommand("copy") ? "Copied" : "Selected";
    setTimeout(() => (button.textContent = "Copy"), 2000);
  });
}

bar.hidden = !cells.some(cell => cell.shows.length || cell.curve);
redraw();
show(position);
