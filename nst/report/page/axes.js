// Which keys are rows, which columns, and of which one value is shown at a time; the table laid out so.

const MOST_TABS = 6, FEW = 3, MANY = 6; // values; columns that are shown larger, and smaller
const SHORT = 20; // letters of a label that is not broken

const places = buttons.map(button => button.closest("td"));
const layouts = Object.fromEntries(Object.entries(grids).map(([index, grid]) => [index, layoutOf(index, grid)]));

// The layout in the address; what is not in there is as the page has it.
function layoutOf(index, { axes, places }) {
  const layout = { places: [...places], chosen: axes.map(() => 0), order: address.get(`${index}.order`) ?? "" };
  axes.forEach(({ key, labels }, axis) => {
    const [place, value] = (address.get(`${index}.${key}`) ?? "").split(/:(.*)/s);
    if (["rows", "columns", "one"].includes(place)) layout.places[axis] = place;
    layout.chosen[axis] = Math.max(labels.indexOf(value), 0);
  });
  return layout;
}

function rememberLayout(index) {
  const { axes, places } = grids[index], layout = layouts[index];
  axes.forEach(({ key, labels }, axis) => {
    const place = layout.places[axis];
    const said = place === "one" ? `one:${labels[layout.chosen[axis]]}` : place;
    remember(`${index}.${key}`, place === places[axis] ? null : said);
  });
  remember(`${index}.order`, layout.order || null);
}

const axesAt = (layout, place) => layout.places.flatMap((at, axis) => (at === place ? [axis] : []));

// The combinations of values on some axes that occur, in order.
function combinations(shown, axes) {
  const found = new Map(shown.map(cell => axes.map(axis => cell.at[axis])).map(place => [place.join(), place]));
  return [...found.values()].sort((one, other) => {
    const first = one.findIndex((value, place) => value !== other[place]);
    return first < 0 ? 0 : one[first] - other[first];
  });
}

function labelOf(grid, axes, place) {
  return axes.map((axis, at) => grid.axes[axis].labels[place[at]]).map(firstLine).join(" · ");
}

// Give each cell its row and column, and its table and charts that layout.
function arrange(index) {
  const grid = grids[index], layout = layouts[index];
  const mine = cells.filter(cell => cell.grid === index);
  for (const cell of mine) cell.row = cell.column = -1;
  const table = grid.perRow ? inOrderTable(grid, layout, mine) : gridTable(grid, layout, mine);
  const old = document.querySelector(`#grid-${index} table.canvases`);
  old.tHead?.remove();
  old.tBodies[0].remove();
  old.append(...table.parts);
  old.classList.toggle("single", mine.length === 1);
  old.classList.toggle("few", table.columns <= FEW);
  old.classList.toggle("many", table.columns > MANY);
  makeCharts(index, table.rows);
  const first = mine.find(cell => cell.row >= 0);
  for (const cell of mine) buttons[cell.index].tabIndex = cell === first ? 0 : -1;
}

function gridTable(grid, layout, mine) {
  const [down, across, single] = ["rows", "columns", "one"].map(place => axesAt(layout, place));
  const shown = mine.filter(cell => single.every(axis => cell.at[axis] === layout.chosen[axis]));
  const rows = combinations(shown, down), columns = combinations(shown, across);
  for (const cell of shown) {
    cell.row = rows.findIndex(row => down.every((axis, at) => cell.at[axis] === row[at]));
    cell.column = columns.findIndex(column => across.every((axis, at) => cell.at[axis] === column[at]));
    cell.head = across.length ? labelOf(grid, across, columns[cell.column]) : firstLine(cell.label);
  }
  const varied = grid.vary === "shared" ? [] : grid.kinds;
  const alike = group => new Set(group.map(cell => JSON.stringify(cell.inputs))).size < 2;
  const byRows = rows.map((_, row) => shown.filter(cell => cell.row === row));
  const byColumns = columns.map((_, column) => shown.filter(cell => cell.column === column));
  const beside = byRows.every(alike) ? varied : [];
  const above = !beside.length && byColumns.every(alike) ? varied : [];
  const parts = [gridHead(grid, down, across, columns, beside, above), gridBody(grid, down, across, rows, columns, shown, beside, above, byColumns)];
  return { parts, rows: rows.map(row => labelOf(grid, down, row)), columns: columns.length };
}

function headCell(label, scope, span = 1) {
  const [words, ...small] = label.split("\n");
  const head = node("th", words, ...small.map(line => node("small", line)));
  head.scope = scope;
  head.colSpan = span;
  return head;
}

function apartIf(really, place) {
  place.classList.toggle("apart", really);
  return place;
}

// Whether one differs from the one before it by more than its last axis.
const apart = (list, at) => at > 0 && list[at].slice(0, -1).join() !== list[at - 1].slice(0, -1).join();

function gridHead(grid, down, across, columns, beside, above) {
  const levels = Math.max(across.length, 1), names = axes => axes.map(axis => grid.axes[axis].name).join(", ");
  const top = node("tr", "");
  const corner = headCell(names(down), "col");
  if (down.length || above.length) top.append(corner);
  for (const kind of beside) top.append(Object.assign(headCell(kind, "col"), { className: "image" }));
  for (const head of top.cells) head.rowSpan = levels + 1;
  const alone = !grid.axes.length;
  if (across.length || alone) top.append(headCell(alone ? grid.alone[0] : names(across), "colgroup", columns.length));
  const lines = alone ? [node("tr", "", headCell(grid.alone[1], "col"))] : across.map((axis, level) => {
    const line = node("tr", "");
    columns.forEach((column, at) => {
      const key = column.slice(0, level + 1).join();
      const last = line.lastElementChild;
      if (last && last.key === key) return void (last.colSpan += 1);
      const inner = level === levels - 1;
      const head = headCell(grid.axes[axis].labels[column[level]], inner ? "col" : "colgroup");
      head.key = key;
      head.className = [inner ? "" : "over", apart(columns, at) ? "apart" : ""].join(" ").trim();
      line.append(head);
    });
    return line;
  });
  return node("thead", "", top, ...lines);
}

function gridBody(grid, down, across, rows, columns, shown, beside, above, byColumns) {
  const body = node("tbody", "");
  for (const kind of above) {
    const images = byColumns.map((group, at) => apartIf(apart(columns, at), node("td", "", inputOf(group[0], kind))));
    body.append(node("tr", "", headCell(kind, "row"), ...images));
  }
  rows.forEach((row, at) => {
    const line = node("tr", "");
    if (down.length || above.length) line.append(rowHead(grid, down, row));
    const mine = shown.filter(cell => cell.row === at);
    for (const kind of beside) line.append(Object.assign(node("td", "", inputOf(mine[0], kind)), { className: "image" }));
    columns.forEach((_, column) => {
      const cell = mine.find(other => other.column === column);
      const place = cell ? places[cell.index] : node("td", "", Object.assign(node("span", "not in this sweep"), { className: "none" }));
      line.append(apartIf(apart(columns, column), place));
    });
    body.append(apartIf(apart(rows, at), line));
  });
  return body;
}

// A line for each axis, and the small print.
function rowHead(grid, down, row) {
  const labels = down.map((axis, at) => grid.axes[axis].labels[row[at]]);
  const head = headCell(["", ...labels.flatMap(label => label.split("\n").slice(1))].join("\n"), "row");
  head.prepend(...labels.map(firstLine).map(label => Object.assign(node("div", label), { className: label.length < SHORT ? "short" : "" })));
  return head;
}

function inputOf(cell, kind) {
  const picture = cell?.inputs.find(([of]) => of === kind);
  if (!picture) return Object.assign(node("span", "missing"), { className: "none" });
  return Object.assign(new Image(), { src: pictures[picture[1]], alt: `${kind} image` });
}

// One after the other, by their number or a value that is chosen; what lacks it comes last.
function inOrderTable(grid, layout, mine) {
  const value = cell => valueOf(cell, layout.order) ?? Infinity;
  const order = layout.order ? [...mine].sort((one, other) => value(one) - value(other)) : mine;
  const body = node("tbody", "");
  const rows = [];
  order.forEach((cell, at) => {
    cell.row = Math.floor(at / grid.perRow);
    cell.column = at % grid.perRow;
    cell.head = cell.label;
    if (!cell.column) {
      rows.push("");
      body.append(node("tr", ""));
    }
    body.lastElementChild.append(places[cell.index]);
  });
  return { parts: [body], rows, columns: grid.perRow };
}

// A number of a cell: a result, its number, or its value on an axis of numbers.
function valueOf(cell, key) {
  if (key === "number") return cell.index;
  if (key in results) return cell.results[key] ?? null;
  const axis = grids[cell.grid].axes.findIndex(one => one.key === key);
  return grids[cell.grid].axes[axis]?.values?.[cell.at[axis]] ?? null;
}

// What may be an axis of a chart, or an order: a key and its name.
function numbersOf(grid, mine) {
  const known = Object.entries(results).filter(([key]) => mine.some(cell => key in cell.results));
  return [...known, ...grid.axes.filter(axis => axis.values).map(axis => [axis.key, axis.name])];
}

// The controls.

function changed(index) {
  rememberLayout(index);
  arrange(index);
  redraw();
  show(position);
}

function axisControl(index, axis) {
  const { name, labels } = grids[index].axes[axis], layout = layouts[index];
  const select = options(document.createElement("select"), [["rows", "rows"], ["columns", "columns"], ["one", "one at a time"]], layout.places[axis]);
  const values = node("span", "");
  values.className = "values";
  const choose = value => {
    layout.chosen[axis] = Number(value);
    changed(index);
  };
  const showValues = () => {
    const shown = layout.places[axis] === "one";
    values.replaceChildren(...(shown ? [valuesControl(`${index}.${axis}`, name, labels, layout.chosen[axis], choose)] : []));
  };
  select.addEventListener("change", () => {
    layout.places[axis] = select.value;
    showValues();
    changed(index);
  });
  showValues();
  return node("div", "", labelled(name, select), values);
}

function valuesControl(id, name, labels, chosen, choose) {
  if (labels.length <= MOST_TABS) {
    const group = tabs(`values-${id}`, labels.map((label, value) => [String(value), firstLine(label)]), String(chosen), choose);
    group.setAttribute("aria-label", name);
    return group;
  }
  const range = Object.assign(document.createElement("input"), { type: "range", min: 0, max: labels.length - 1, value: chosen });
  const output = node("output", firstLine(labels[chosen]));
  range.setAttribute("aria-label", name);
  range.setAttribute("aria-valuetext", output.textContent);
  range.addEventListener("input", () => {
    output.textContent = firstLine(labels[range.value]);
    range.setAttribute("aria-valuetext", output.textContent);
    choose(range.value);
  });
  return node("span", "", range, output);
}

function orderControl(index, grid, mine) {
  const pairs = [["", "number"], ...numbersOf(grid, mine)];
  const select = options(document.createElement("select"), pairs, layouts[index].order);
  select.addEventListener("change", () => {
    layouts[index].order = select.value;
    changed(index);
  });
  return labelled("Order by", select);
}

for (const [name, grid] of Object.entries(grids)) {
  const index = Number(name), bar = document.querySelector(`#grid-${index} .axes`);
  const mine = cells.filter(cell => cell.grid === index);
  if (grid.perRow) bar.append(orderControl(index, grid, mine));
  else bar.append(...grid.axes.map((_, axis) => axisControl(index, axis)));
  bar.hidden = !bar.children.length;
}
