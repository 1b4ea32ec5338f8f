// The page opens as its address says.

function cellAt(folder) {
  return cells.findIndex(cell => cell.folder === folder);
}

for (const index of Object.keys(grids)) arrange(Number(index));
showKept();
setPicked(-1);
setSplit(0.5);
setView(VIEWS.some(([name]) => name === address.get("view")) ? address.get("view") : "side");
bar.hidden = !cells.some(cell => cell.shows.length || cell.curve);
redraw();
show(address.has("at") ? Math.max(times.findLastIndex(time => time <= Number(address.get("at"))), 0) : position);
const asked = (address.get("compare") ?? "").split(",").map(cellAt), alone = cellAt(address.get("cell"));
if (asked.length === 2 && asked.every(index => index >= 0)) compare(...asked);
else if (alone >= 0) enlarge(alone);

// While it is painted the page is made anew now and then. Who looks closely is not disturbed.
if (data.painting) setInterval(() => document.querySelector("dialog[open]") || location.reload(), 15000);
