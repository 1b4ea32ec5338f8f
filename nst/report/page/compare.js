// Two canvases: side by side, with a slider between them, as their difference, flickering; zoomed in step.

const comparison = $("compare"), stage = $("stage"), panes = [...stage.querySelectorAll(".pane")];
const VIEWS = [["side", "Side by side"], ["slider", "Slider"], ["difference", "Difference"], ["flicker", "Flicker"]];
const BETTER_SMALL = ["lpips_content", "style_distance"];
const MOST_ZOOM = 64, STEP = 1.5; // canvas pixels as CSS pixels; of the zoom
let picked = -1, compared = [], view = "side", zoom = 1, shift = [0, 0];

// The cell that waits for another to be compared with.
function pick(index) {
  if (picked >= 0 && picked !== index) return compare(picked, index);
  setPicked(picked === index ? -1 : index);
}

function setPicked(index) {
  picked = index;
  tools.forEach(({ comparing }, at) => comparing.setAttribute("aria-pressed", at === picked));
  $("picking").hidden = picked < 0;
  $("picked").textContent = picked < 0 ? "" : cells[picked].label;
  if (dialog.open) $("large-pick").setAttribute("aria-pressed", picked === open);
}

function compare(one, other) {
  setPicked(-1);
  if (dialog.open) dialog.close();
  compared = [one, other];
  if (!comparison.open) {
    comparison.showModal();
    unzoom();
  }
  comparison.focus();
  showCompared();
}

function showCompared() {
  compared.forEach((index, side) => {
    const cell = cells[index], place = panes[side].querySelector(".picture");
    fill(place, cell, true);
    panes[side].querySelector(".name").textContent = cell.label;
    $(["one", "other"][side]).value = index;
    $(["one-star", "other-star"][side]).cell = cell;
  });
  const [width, height] = cells[compared[0]].size ?? [1, 1];
  stage.style.setProperty("--ratio", width / height);
  $("differences").replaceChildren(...differenceRows(...compared.map(index => cells[index])));
  remember("compare", compared.map(index => cells[index].folder).join());
  showKept();
  showZoom();
  show(position);
}

function paintCompared() {
  if (!comparison.open) return;
  compared.forEach((index, side) => {
    const place = panes[side].querySelector(".picture");
    paint(place, cells[index]);
    sharpen(place, cells[index]);
  });
}

// What differs between two cells, and their numbers; of a score the better one is marked.
function differenceRows(one, other) {
  const head = node("tr", "", node("td", ""), ...[one, other].map(cell => Object.assign(node("th", cell.label), { scope: "col" })));
  const known = [one, other].map(cell => Object.fromEntries(parametersOf(cell)));
  const keys = [...new Set(known.flatMap(Object.keys))].filter(key => known[0][key] !== known[1][key]);
  const differing = keys.map(key => tableRow(key, known.map(of => of[key] ?? "")));
  const numbers = Object.keys(results).filter(key => key in one.results || key in other.results).map(key => {
    const values = [one, other].map(cell => cell.results[key]);
    const line = tableRow(results[key], values.map(value => (value === undefined ? "" : shortNumber(value))), "number");
    if (BETTER_SMALL.includes(key) && values[0] !== values[1]) line.cells[values[0] < values[1] ? 1 : 2].classList.add("better");
    return line;
  });
  const files = tableRow("files", [one, other].map(cell => Object.assign(node("span", "", ...filesOf(cell)), { className: "files" })));
  return [node("thead", "", head), node("tbody", "", ...differing, ...numbers, files)];
}

function tableRow(name, values, kind = "") {
  const head = Object.assign(node("th", name), { scope: "row" });
  return node("tr", "", head, ...values.map(value => Object.assign(node("td", "", value), { className: kind })));
}

// Views.

function setView(name) {
  view = name;
  stage.dataset.view = view;
  $("gain").hidden = view !== "difference";
  for (const radio of $("views").querySelectorAll("input")) radio.checked = radio.value === view;
  remember("view", view === "side" ? null : view);
  showZoom();
}

function setSplit(share) {
  const percent = Math.min(Math.max(share, 0), 1) * 100;
  $("split").value = percent;
  stage.style.setProperty("--split", `${percent}%`);
}

function flip() {
  stage.classList.toggle("flipped");
}

// Zoom: by how much, and by how much moved, in shares of the pane, so that it is the same for both.

// How many CSS pixels a pixel of the canvas takes where it just fits.
function fitted() {
  const size = cells[compared[0]]?.size;
  return size ? panes[0].clientWidth / size[0] : 1;
}

function showZoom() {
  stage.style.setProperty("--zoom", zoom);
  stage.style.setProperty("--x", `${shift[0] * 100}%`);
  stage.style.setProperty("--y", `${shift[1] * 100}%`);
  stage.classList.toggle("zoomed", zoom > 1);
  stage.classList.toggle("pixels", zoom * fitted() >= 2);
  $("zoom").textContent = `${Math.round(zoom * fitted() * 100)}%`;
}

// Zoom by a factor; the point at a share of the pane stays where it is.
function zoomBy(factor, at = [0.5, 0.5]) {
  const to = Math.min(Math.max(zoom * factor, 1), Math.max(MOST_ZOOM / fitted(), 1));
  shift = shift.map((by, axis) => at[axis] - ((at[axis] - by) * to) / zoom);
  zoom = to;
  moveBy(0, 0);
}

function moveBy(x, y) {
  shift = [shift[0] + x, shift[1] + y].map(by => Math.min(0, Math.max(1 - zoom, by)));
  showZoom();
}

function unzoom() {
  zoom = 1;
  shift = [0, 0];
  showZoom();
}

// Where in its pane an event is, in shares of it.
function shareOf(event) {
  const pane = event.target.closest?.(".pane") ?? panes[0], box = pane.getBoundingClientRect();
  return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
}

stage.addEventListener("wheel", event => {
  event.preventDefault();
  zoomBy(event.deltaY < 0 ? STEP : 1 / STEP, shareOf(event));
}, { passive: false });

// Dragging moves the slider where it is near, or where there is nothing else to move; else the canvases.
let dragged = null;
stage.addEventListener("pointerdown", event => {
  if (event.target.closest("input") || event.button) return;
  const share = shareOf(event)[0], near = Math.abs(share - $("split").value / 100) < 0.05;
  dragged = view === "slider" && (zoom === 1 || near) ? "split" : "canvas";
  if (dragged === "split") setSplit(share);
  stage.setPointerCapture(event.pointerId);
});
stage.addEventListener("pointermove", event => {
  const box = panes[0].getBoundingClientRect();
  if (dragged === "split") setSplit((event.clientX - box.left) / box.width);
  if (dragged === "canvas") moveBy(event.movementX / box.width, event.movementY / box.height);
});
for (const over of ["pointerup", "pointercancel"]) stage.addEventListener(over, () => (dragged = null));

// Another cell on one side: the next in reading order.
function turnSide(side, by) {
  const next = inOrder(compared[side], by);
  if (!next) return;
  compared[side] = next[0];
  showCompared();
}

function swap() {
  compared.reverse();
  showCompared();
}

// Keys.

const NUDGE = 0.1; // of the pane
const COMPARE_KEYS = {
  1: () => setView("side"), 2: () => setView("slider"), 3: () => setView("difference"), 4: () => setView("flicker"),
  ArrowLeft: () => turnSide(1, -1), ArrowRight: () => turnSide(1, 1), ArrowUp: () => turnSide(0, -1), ArrowDown: () => turnSide(0, 1),
  "+": () => zoomBy(STEP), "=": () => zoomBy(STEP), "-": () => zoomBy(1 / STEP), 0: unzoom,
  ",": () => chooseMoment(position - 1), ".": () => chooseMoment(position + 1),
  "[": () => setSplit($("split").value / 100 - 0.05), "]": () => setSplit($("split").value / 100 + 0.05),
  x: swap, f: flip, s: () => star(cells[compared[1]]),
};
const MOVES = { ArrowLeft: [NUDGE, 0], ArrowRight: [-NUDGE, 0], ArrowUp: [0, NUDGE], ArrowDown: [0, -NUDGE] };

function compareKey(event) {
  const { key, shiftKey, target } = event;
  if (target.closest("select, input") && key.startsWith("Arrow")) return;
  const act = shiftKey && MOVES[key] ? () => moveBy(...MOVES[key]) : COMPARE_KEYS[key];
  if (!act) return;
  event.preventDefault();
  act();
}

$("views").append(...tabs("view", VIEWS, view, setView).children);
for (const [side, id] of ["one", "other"].entries()) {
  options($(id), cells.map((cell, index) => [String(index), Object.keys(grids).length > 1 ? `${grids[cell.grid].title}: ${cell.label}` : cell.label]));
  $(id).addEventListener("change", () => {
    compared[side] = Number($(id).value);
    showCompared();
  });
  $(`${id}-star`).addEventListener("click", () => star(cells[compared[side]]));
}
$("gain").addEventListener("change", () => stage.style.setProperty("--gain", $("gain").value));
$("split").addEventListener("input", () => setSplit($("split").value / 100));
$("swap").addEventListener("click", swap);
$("zoom-in").addEventListener("click", () => zoomBy(STEP));
$("zoom-out").addEventListener("click", () => zoomBy(1 / STEP));
$("zoom-fit").addEventListener("click", unzoom);
$("compare-close").addEventListener("click", () => comparison.close());
$("unpick").addEventListener("click", () => setPicked(-1));
comparison.addEventListener("click", event => event.target === comparison && comparison.close());
comparison.addEventListener("close", () => {
  buttons[compared[1]].focus();
  remember("compare", null);
});
addEventListener("resize", () => comparison.open && showZoom());
