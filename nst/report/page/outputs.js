"use strict";
// A search over all that is listed: every word has to be somewhere in an entry. It is kept in the address.

const search = document.getElementById("search"), count = document.getElementById("count");
const entries = [...document.querySelectorAll("#entries > li")];

function find() {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const entry of entries) entry.hidden = !words.every(word => entry.dataset.text.includes(word));
  const shown = entries.filter(entry => !entry.hidden).length;
  count.textContent = words.length ? `${shown} of ${entries.length}` : `${entries.length} sweeps and runs`;
}

function look(words) {
  search.value = words;
  find();
  history.replaceState(null, "", words ? `#${new URLSearchParams({ search: words })}` : "#");
}

search.addEventListener("input", () => look(search.value));
for (const tag of document.querySelectorAll(".tag")) tag.addEventListener("click", () => look(tag.textContent));
document.addEventListener("keydown", event => {
  if (event.key !== "/" || event.target === search) return;
  event.preventDefault();
  search.focus();
});
search.value = new URLSearchParams(location.hash.slice(1)).get("search") ?? "";
find();
