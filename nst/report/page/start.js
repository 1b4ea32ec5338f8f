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

// A page of a sweep that is painted comes anew from disk, unless somebody is at it. The address keeps the view.
const AGAIN = 20000, STALE = 600000; // ms; a page that is so old is of a sweep that was killed, or waits for its disk
let touched = performance.now();
for (const kind of ["pointermove", "keydown", "wheel"]) addEventListener(kind, () => (touched = performance.now()), { passive: true });

function renew() {
  const busy = timer || dialog.open || performance.now() - touched < AGAIN / 2;
  if (!busy) location.reload();
}
function outdated() {
  if (Date.now() - Date.parse(data.made) < STALE) return false;
  const since = data.made.replace("T", " ").replace(/\.\d+|\+00:00/g, "");
  $("stale").textContent = `Not renewed since ${since} UTC: the painting was stopped, it seems. The same command goes on with it.`;
  $("stale").hidden = false;
  return true;
}
if (data.unfinished && !outdated()) setInterval(renew, AGAIN);

const asked = (address.get("compare") ?? "").split(",").map(cellAt), alone = cellAt(address.get("cell"));
if (asked.length === 2 && asked.every(index => index >= 0)) compare(...asked);
else if (alone >= 0) enlarge(alone);
