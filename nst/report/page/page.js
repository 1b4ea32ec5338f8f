// One slider for all videos, one light for all that shows a cell, a dialog for a closer look.

const bar = $("bar"), slider = $("slider"), speed = $("speed"), term = $("term"), dialog = $("large");
const last = times.at(-1) ?? 0;
const sliders = document.querySelectorAll(".moments");
let position = times.length - 1, timer = 0, open = -1;

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
  const [width, height] = cell.frame;
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  canvas.getContext("2d").drawImage(image, 0, 0, width, height);
  canvas.hidden = false;
}

// The same from the film beside the page: every pixel of it, once it is there, and nothing moves.
function sharpen(place, cell) {
  const shows = (cell.shows[position] ?? null) !== null;
  let film = place.querySelector("video");
  if (film) film.hidden = true;
  if (timer || !shows || !cell.fps) return;
  if (!film) {
    film = Object.assign(document.createElement("video"), { muted: true, preload: "auto", hidden: true });
    film.setAttribute("aria-hidden", "true");
    // Whichever event comes last, it is what the slider says now that is sought and shown.
    for (const event of ["loadedmetadata", "loadeddata", "canplay", "seeked"]) {
      film.addEventListener(event, () => place.shown === cell && seek(film, cell));
    }
    film.src = `${cell.folder}/canvas.mp4`;
    place.append(film);
  }
  seek(film, cell);
}

function seek(film, cell) {
  if (timer || !film.readyState || (cell.shows[position] ?? null) === null) return;
  const time = (cell.film[position] + 0.5) / cell.fps;
  if (film.sought !== time) {
    // A film's sides are even: beside an odd canvas it has a row and a column more.
    film.style.width = `${(100 * film.videoWidth) / cell.size[0]}%`;
    film.style.height = `${(100 * film.videoHeight) / cell.size[1]}%`;
    film.currentTime = film.sought = time;
  }
  film.hidden = film.seeking || film.readyState < HTMLMediaElement.HAVE_CURRENT_DATA;
}

function show(moment) {
  position = moment;
  const text = times.length ? `iteration ${grouped(times[moment])} of ${grouped(last)}` : "no videos";
  for (const one of sliders) {
    one.value = moment;
    one.setAttribute("aria-valuetext", text);
  }
  for (const output of document.querySelectorAll(".moment")) output.textContent = text;
  for (const index of inView) paint(buttons[index], cells[index]);
  if (open >= 0) {
    const cell = cells[open];
    paint($("large-canvas"), cell);
    sharpen($("large-canvas"), cell);
    const own = `iteration ${grouped(Math.min(times[moment], cell.last))} of ${grouped(cell.last)}`;
    $("large-moment").textContent = cell.shows.length ? own : "";
  }
  paintCompared();
  markCurves(times[position] ?? 0, term.value);
}

// The moment is in the address where it is not the last, once it is chosen.
function rememberMoment() {
  remember("at", position < times.length - 1 ? times[position] : null);
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
  if (timer) rememberMoment();
  clearTimeout(timer);
  timer = 0;
  for (const button of document.querySelectorAll(".play")) button.textContent = "Play";
  if (open >= 0) sharpen($("large-canvas"), cells[open]);
  paintCompared();
}

function toggle() {
  if (timer) return pause();
  if (times.length < 2) return;
  if (position >= times.length - 1) show(0);
  for (const button of document.querySelectorAll(".play")) button.textContent = "Pause";
  timer = setTimeout(step, 1000 / speed.value);
}

function chooseMoment(moment) {
  pause();
  show(Math.min(Math.max(moment, 0), times.length - 1));
  rememberMoment();
}

for (const one of sliders) {
  one.max = Math.max(times.length - 1, 0);
  one.disabled = times.length < 2;
  one.addEventListener("input", () => chooseMoment(Number(one.value)));
}
for (const button of document.querySelectorAll(".play")) {
  button.disabled = times.length < 2;
  button.addEventListener("click", toggle);
}

// Curves.

for (const [name, text] of Object.entries(terms)) term.append(new Option(text, name));
const redraw = () => figures.forEach(drawAnew);
term.addEventListener("change", redraw);

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

function lines(pairs) {
  const list = node("dl", "");
  for (const [name, value] of pairs) {
    const linked = /^https?:\/\//.test(value) && name === "MLflow run";
    list.append(node("dt", name), node("dd", "", linked ? link(value, value) : value));
  }
  return list;
}

// All there is to say of a cell, under headings.
function factsOf(cell) {
  const found = Object.entries(cell.results).map(([key, value]) => [results[key], shortNumber(value)]);
  const groups = [["Differs", Object.entries(cell.differs)], ["Results", found], ["Run", cell.about]];
  const told = groups.filter(([, pairs]) => pairs.length).map(([heading, pairs]) => node("div", "", node("h3", heading), lines(pairs)));
  const again = node("div", "", node("h3", "Paint again"), ...cell.commands.map(([title, line]) => commandLine(title, line)));
  const parameters = parametersOf(cell);
  const all = parameters.length ? [node("details", "", node("summary", "All parameters"), lines(parameters))] : [];
  return [...told, again, ...all];
}

// A canvas in a place that is not its own: the one in the page, and the file beside it once it is there.
function fill(place, cell, whole) {
  const button = buttons[cell.index];
  place.shown = cell;
  for (const kind of ["pixels", "empty"]) place.classList.toggle(kind, button.classList.contains(kind));
  place.replaceChildren(...[...button.children].filter(child => child.tagName !== "CANVAS").map(child => child.cloneNode(true)));
  const image = place.querySelector("img");
  image?.removeAttribute("id");
  if (!image || !whole) return;
  const file = Object.assign(new Image(), { src: `${cell.folder}/canvas.png` });
  file.addEventListener("load", () => place.shown === cell && (image.src = file.src));
}

function filesOf(cell) {
  if (!cell.size) return [];
  const said = `Full size, ${cell.size.join(" × ")}`;
  return [link(said, `${cell.folder}/canvas.png`), link("Film", `${cell.folder}/canvas.mp4`)];
}

function enlarge(index) {
  open = index;
  const cell = cells[index];
  fill($("large-canvas"), cell, true);
  $("large-title").textContent = cell.label;
  $("large-files").replaceChildren(...filesOf(cell));
  $("large-star").cell = cell;
  $("note").value = cell.kept.note ?? "";
  $("facts").replaceChildren(...factsOf(cell));
  const images = cell.inputs.map(([kind, picture]) => {
    const image = Object.assign(new Image(), { src: pictures[picture], alt: `${kind} image` });
    return node("figure", "", image, node("figcaption", kind));
  });
  $("large-inputs").replaceChildren(...images);
  $("earlier").disabled = !inOrder(index, -1);
  $("later").disabled = !inOrder(index, 1);
  remember("cell", cell.folder);
  if (!dialog.open) dialog.showModal();
  dialog.focus(); // on none of its buttons, so that Space plays here too
  showKept();
  show(position);
}

// The index after or before one among those that its grid shows, in reading order.
function inOrder(index, by) {
  const shown = shownBeside(cells[index]);
  const next = shown[shown.indexOf(cells[index]) + by];
  return next ? [next.index] : null;
}

function shownBeside({ grid }) {
  const shown = cells.filter(cell => cell.grid === grid && cell.row >= 0);
  return shown.sort((one, other) => one.row - other.row || one.column - other.column);
}

function turn(by) {
  const next = inOrder(open, by);
  if (next) enlarge(next[0]);
}

buttons.forEach((button, index) => button.addEventListener("click", () => enlarge(index)));
$("earlier").addEventListener("click", () => turn(-1));
$("later").addEventListener("click", () => turn(1));
$("large-star").addEventListener("click", () => star(cells[open]));
$("large-pick").addEventListener("click", () => pick(open));
$("note").addEventListener("input", () => keep(cells[open], { note: $("note").value.trim() }));
$("close").addEventListener("click", () => dialog.close());
dialog.addEventListener("click", event => event.target === dialog && dialog.close());
dialog.addEventListener("close", () => {
  buttons[open]?.focus();
  open = -1;
  remember("cell", null);
});

// Keys. Each grid is one stop of the Tab key, and each chart.

function rove(all, chosen) {
  for (const one of all) one.tabIndex = one === chosen ? 0 : -1;
  chosen.focus();
}

function neighbour(cell, across, down) {
  const found = cells.filter(other => other.grid === cell.grid && other.row >= 0
    && (across ? other.row === cell.row : other.column === cell.column)
    && (across ? (other.column - cell.column) * across > 0 : (other.row - cell.row) * down > 0));
  const distance = other => Math.abs(other.column - cell.column) + Math.abs(other.row - cell.row);
  return found.sort((one, other) => distance(one) - distance(other))[0];
}

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  const { target, key } = event;
  if (target.closest("textarea, input[type=search]")) return;
  const arrow = ARROWS[key];
  const shown = comparison.open ? null : dialog.open ? cells[open] : target.closest("button.canvas")?.shown;
  if (key === " " && !target.closest("button:not(.canvas), select, a, summary, input:not([type=range])")) {
    event.preventDefault();
    toggle();
  } else if (comparison.open) {
    compareKey(event);
  } else if (key === "s" && shown) {
    star(shown);
  } else if (key === "c" && shown) {
    pick(shown.index);
  } else if (arrow && dialog.open && arrow[0] && !target.closest("select, input")) {
    event.preventDefault();
    turn(arrow[0]);
  } else if (arrow && target.closest("button.canvas")) {
    event.preventDefault();
    const next = neighbour(target.shown, ...arrow);
    if (next) rove(buttons.filter((_, index) => cells[index].grid === next.grid), buttons[next.index]);
  } else if (arrow && target.closest(".curve, .point")) {
    event.preventDefault();
    const marks = [...target.closest("svg").querySelectorAll(".curve, .point")].sort((one, other) => (one.order ?? 0) - (other.order ?? 0));
    const next = marks[marks.indexOf(target) + arrow[0] + arrow[1]];
    if (next) rove(marks, next);
  } else if (key === "Enter" && target.closest(".point")) {
    enlarge(Number(target.dataset.cell));
  }
});
// Space, which plays, is not to press the canvas it is played from when it is let go.
document.addEventListener("keyup", event => event.key === " " && event.target.closest(".canvas") && event.preventDefault());

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
  button.addEventListener("click", () => copy(button.previousElementSibling.textContent, button));
}
