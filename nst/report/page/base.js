"use strict";
// What the scripts of the page share: its data, its elements, numbers as people read them, its address.

const data = JSON.parse(document.getElementById("data").textContent);
const { times, cells, strips, terms, results, grids } = data;
cells.forEach((cell, index) => (cell.index = index));

const $ = id => document.getElementById(id);
const buttons = [];
for (const button of document.querySelectorAll("button.canvas[data-cell]")) buttons[button.dataset.cell] = button;
for (const image of document.querySelectorAll("[data-same]")) image.src = $(image.dataset.same).src;
// Of the images that cells were painted from, which leave the document with the table that shows them.
const inputs = new Set(cells.flatMap(cell => cell.inputs.map(([, picture]) => picture)));
const pictures = Object.fromEntries([...inputs].map(picture => [picture, $(picture).src]));

const whole = new Intl.NumberFormat("en-US"), short = new Intl.NumberFormat("en-US", { maximumSignificantDigits: 4 });
const grouped = value => whole.format(value);

function shortNumber(value) {
  if (value === null) return "0";
  const size = Math.abs(value);
  if (size && (size < 1e-3 || size >= 1e6)) return value.toExponential(2);
  return short.format(value);
}

function elided(text, most) {
  if (text.length <= most) return text;
  return `${text.slice(0, Math.ceil(most / 2) - 1)}…${text.slice(text.length - Math.floor(most / 2))}`;
}

const firstLine = label => label.split("\n")[0];

function node(name, text, ...children) {
  const made = document.createElement(name);
  made.textContent = text;
  made.append(...children);
  return made;
}

function action(text, title, act) {
  const made = node("button", text);
  Object.assign(made, { type: "button", title });
  made.addEventListener("click", act);
  return made;
}

function link(text, address) {
  return Object.assign(node("a", text), { href: address, target: "_blank", rel: "noreferrer" });
}

function options(select, pairs, chosen) {
  select.replaceChildren(...pairs.map(([value, text]) => new Option(text, value, false, value === chosen)));
  return select;
}

// The name of a choice, and the element that makes it.
function labelled(text, control) {
  control.setAttribute("aria-label", text); // a label's text would have all that may be chosen in it
  const label = node("label", "", node("span", text), control);
  label.className = "choice";
  return label;
}

// A choice of one of a few: radio buttons that look like tabs.
function tabs(name, pairs, chosen, choose) {
  const group = node("div", "");
  group.className = "tabs";
  group.setAttribute("role", "radiogroup");
  for (const [value, text] of pairs) {
    const radio = Object.assign(document.createElement("input"), { type: "radio", name, value, checked: value === chosen });
    radio.addEventListener("change", () => choose(value));
    group.append(node("label", "", radio, node("span", text)));
  }
  return group;
}

// Figures are drawn when they come near what is seen, and anew when their width is another.

const NEAR = "600px";

function draw(figure) {
  figure.drawnAt = figure.clientWidth;
  figure.draw();
}

const near = new IntersectionObserver(entries => {
  for (const { target, isIntersecting } of entries) {
    target.near = isIntersecting;
    if (isIntersecting && target.drawnAt !== target.clientWidth) draw(target);
  }
}, { rootMargin: NEAR });
const wide = new ResizeObserver(entries => {
  for (const { target } of entries) if (target.near && target.drawnAt !== target.clientWidth) draw(target);
});

function keepDrawn(figure, how) {
  figure.draw = how;
  near.observe(figure);
  wide.observe(figure);
}

function drawAnew(figure) {
  figure.drawnAt = null;
  if (figure.near) draw(figure);
}

addEventListener("beforeprint", () => document.querySelectorAll("main figure").forEach(figure => figure.draw && draw(figure)));

// What is chosen is in the address, so that a view can be sent to someone.

const address = new URLSearchParams(location.hash.includes("=") ? location.hash.slice(1) : "");

function remember(key, value) {
  if (value === null) address.delete(key);
  else address.set(key, value);
  try {
    history.replaceState(null, "", address.size ? `#${address}` : location.hash.includes("=") ? "#" : location.hash);
  } catch {
    // Not in the frame that MLflow shows this page in.
  }
}

// An address in a bar that is edited by hand is another view.
addEventListener("hashchange", () => location.hash.includes("=") && location.hash !== `#${address}` && location.reload());

// The parameters of a cell, all of them.
function parametersOf(cell) {
  const shared = Object.entries(grids[cell.grid].parameters);
  return shared.map(([key, value]) => [key, value ?? cell.differs[key]]);
}

// Copy a text; `button` says so. The clipboard's newer interface is not there in the frame of MLflow, nor
// for a page from disk everywhere.
function copy(text, button) {
  const field = Object.assign(document.createElement("textarea"), { value: text, className: "unseen" });
  button.after(field); // inside a dialog all else is inert
  field.select();
  const said = button.textContent, copied = document.execCommand("copy");
  field.remove();
  button.focus();
  button.textContent = copied ? "Copied" : "Not copied";
  setTimeout(() => (button.textContent = said), 2000);
}

function commandLine(title, line) {
  const button = action("Copy", "", () => copy(line, button));
  button.setAttribute("aria-label", `Copy: ${title}`);
  const command = node("div", "", node("pre", "", node("code", line)), button);
  command.className = "command";
  return node("div", "", node("h4", title), command);
}
