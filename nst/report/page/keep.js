// Stars and notes. The browser keeps them by the identity of a run, wherever that run is shown; what was given while
// it was painted, by its folder, because only what is finished has an identity.

const KEPT = "nst/";

function readKept(key) {
  try {
    return JSON.parse(localStorage.getItem(KEPT + key)) ?? {};
  } catch {
    return {};
  }
}

function writeKept(key, kept) {
  try {
    if (kept.star || kept.note) localStorage.setItem(KEPT + key, JSON.stringify(kept));
    else localStorage.removeItem(KEPT + key);
  } catch {
    // No storage in this frame: they are kept while the page is open.
  }
}

const folderOf = cell => Object.fromEntries(cell.about).folder;

for (const cell of cells) {
  const before = folderOf(cell);
  cell.kept = readKept(cell.key);
  if (before === cell.key || cell.kept.star || cell.kept.note) continue;
  cell.kept = readKept(before);
  writeKept(cell.key, cell.kept);
  writeKept(before, {});
}

// The same run may be several cells.
function keep(cell, change) {
  Object.assign(cell.kept, change);
  for (const other of cells) if (other.key === cell.key) other.kept = cell.kept;
  writeKept(cell.key, cell.kept);
  showKept();
}

const star = cell => keep(cell, { star: !cell.kept.star });

const tools = cells.map((cell, index) => {
  const starring = action("★", "Star (S)", () => star(cell));
  const comparing = action("A|B", "Compare (C)", () => pick(index));
  starring.className = "star";
  comparing.className = "pick";
  for (const tool of [starring, comparing]) {
    tool.tabIndex = -1; // its key does the same, on the canvas
    tool.setAttribute("aria-label", `${tool.title}: ${cell.label}`);
  }
  const group = node("div", "", starring, comparing);
  group.className = "tools";
  const remark = node("small", "");
  remark.className = "remark";
  buttons[index].after(group, remark);
  return { starring, comparing, remark };
});

function showKept() {
  const starred = cells.filter(cell => cell.kept.star || cell.kept.note);
  cells.forEach((cell, index) => {
    const { starring, remark } = tools[index];
    starring.setAttribute("aria-pressed", Boolean(cell.kept.star));
    remark.textContent = cell.kept.note ?? "";
    remark.hidden = !cell.kept.note;
    buttons[index].closest("td").classList.toggle("starred", Boolean(cell.kept.star));
  });
  for (const button of document.querySelectorAll("dialog .star")) {
    button.setAttribute("aria-pressed", Boolean(button.cell?.kept.star));
  }
  const stars = new Set(starred.filter(cell => cell.kept.star).map(cell => cell.key)).size;
  const notes = new Set(starred.filter(cell => cell.kept.note).map(cell => cell.key)).size;
  $("kept").textContent = [stars && `★ ${stars} starred`, notes && `${notes} with a note`].filter(Boolean).join(", ");
  $("keeping").hidden = !starred.length;
  $("only-starred").checked &&= stars > 0;
  document.body.classList.toggle("only-starred", $("only-starred").checked);
}

// Run folders, one a line, each with its note as a comment.
function keptFolders() {
  const lines = cells.filter(cell => cell.kept.star || cell.kept.note).map(cell => {
    const folder = folderOf(cell);
    const quoted = /^[\w@%+=:,./-]+$/.test(folder) ? folder : `'${folder.replaceAll("'", `'"'"'`)}'`;
    return cell.kept.note ? `${quoted}  # ${cell.kept.note.replaceAll("\n", " ")}` : quoted;
  });
  return [...new Set(lines)].join("\n");
}

$("copy-kept").addEventListener("click", () => copy(keptFolders(), $("copy-kept")));
$("only-starred").addEventListener("change", showKept);
addEventListener("storage", event => {
  if (event.key !== null && !event.key.startsWith(KEPT)) return;
  for (const cell of cells) cell.kept = readKept(cell.key);
  showKept();
});
