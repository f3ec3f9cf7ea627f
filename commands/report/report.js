// The index of all sequences: sorted, filtered, searched and paged here; its data come from report-data.js.
"use strict";
(() => {
  const data = window.REPORT;
  const PER_PAGE = 50;
  const $ = (id) => document.getElementById(id);
  const at = Object.fromEntries(data.columns.map((name, k) => [name, k]));
  const rows = data.rows;
  const names = { state: data.states, expression: data.expressions };
  let shown = [];
  let page = 0;
  let sorted = { column: "score", up: false };
  let haystack = null;
  let only = null; // rows behind a bar of a histogram; null: all
  const behind = Object.create(null); // what bars/<figure>.js has said, by figure

  // what a column is sorted by; nothing is always last
  const value = (row, column) =>
    column === "sequence" ? `${data.subjects[row[at.subject]]}/${row[at.sequence]}`
    : names[column] ? names[column][row[at[column]]] : row[at[column]];

  function words() {
    if (!haystack)
      haystack = rows.map((row) => [
        value(row, "sequence"), data.expressions[row[at.expression]], row[at.why],
        ...row[at.codes].map((code) => data.codes[code]),
      ].join(" ").toLowerCase());
    return haystack;
  }

  function filter() {
    const wanted = $("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const state = $("state").value, code = $("code").value, expression = $("expression").value;
    const review = $("reviewed").value;
    const text = wanted.length ? words() : null;
    shown = [];
    for (let k = 0; k < rows.length; k++) {
      const row = rows[k];
      if (only && !only.has(k)) continue;
      if (state !== "" && row[at.state] !== Number(state)) continue;
      if (expression !== "" && row[at.expression] !== Number(expression)) continue;
      if (code !== "" && !row[at.codes].includes(Number(code))) continue;
      if (review === "no" && row[at.reviewed] >= row[at.frames]) continue;
      if (review === "yes" && !row[at.reviewed]) continue;
      if (review === "bad" && !row[at.bad]) continue;
      if (text && !wanted.every((word) => text[k].includes(word))) continue;
      shown.push(k);
    }
    sort();
  }

  function sort() {
    const { column, up } = sorted;
    // rows come worst first
    if (column === "score") { if (up) shown.sort((a, b) => b - a); else shown.sort((a, b) => a - b); }
    else {
      const keys = new Map(shown.map((k) => [k, value(rows[k], column)]));
      const sign = up ? 1 : -1;
      shown.sort((a, b) => {
        const x = keys.get(a), y = keys.get(b);
        if (x === y) return a - b;
        if (x === null) return 1;
        if (y === null) return -1;
        return (x < y ? -1 : 1) * sign;
      });
    }
    page = 0;
    draw();
  }

  function place(row) {
    const folder = [data.subjects[row[at.subject]], row[at.sequence]].map(encodeURIComponent).join("/");
    return { folder: `sequences/${folder}`, view: `views/${folder}.html` };
  }

  function link(href, text) {
    const made = document.createElement("a");
    made.href = href;
    made.textContent = text;
    return made;
  }

  const number = (x) => (x === null ? "" : x >= 1e9 ? "" : x.toPrecision(3));

  function draw() {
    const body = $("rows");
    body.replaceChildren();
    const last = Math.max(0, Math.ceil(shown.length / PER_PAGE) - 1);
    page = Math.min(page, last);
    for (const k of shown.slice(page * PER_PAGE, (page + 1) * PER_PAGE)) {
      const row = rows[k];
      const line = body.insertRow();
      const { folder, view } = place(row);
      const name = line.insertCell();
      name.append(link(`${folder}/index.html`, value(row, "sequence")));
      if (row[at.view]) name.append(document.createElement("br"), link(view, "3D"));
      const words = line.insertCell();
      words.textContent = row[at.why];
      if (row[at.picture] !== null) {
        const picture = document.createElement("img");
        picture.loading = "lazy";
        picture.alt = `frame ${row[at.picture]}`;
        picture.src = `${folder}/${row[at.picture]}.webp`;
        words.append(document.createElement("br"), picture);
      }
      for (const text of [
        number(row[at.expected_error]), number(row[at.s2m_p95]), row[at.frames], row[at.rejected], row[at.noted],
        row[at.bad] ? `${row[at.reviewed]}, ${row[at.bad]} bad` : row[at.reviewed],
        data.states[row[at.state]], data.expressions[row[at.expression]],
      ]) line.insertCell().textContent = text;
    }
    const first = shown.length ? page * PER_PAGE + 1 : 0;
    $("count").textContent = `${first} to ${Math.min(shown.length, (page + 1) * PER_PAGE)} of ${shown.length.toLocaleString("en")}` +
      (shown.length < rows.length ? `, of ${rows.length.toLocaleString("en")} in all` : "");
    $("before").disabled = page === 0;
    $("after").disabled = page >= last;
    for (const button of document.querySelectorAll("[data-sort]"))
      button.parentNode.setAttribute("aria-sort",
        button.dataset.sort === sorted.column ? (sorted.up ? "ascending" : "descending") : "none");
  }

  function fill(id, list) {
    list.map((name, k) => [name, k]).sort((a, b) => (a[0] < b[0] ? -1 : 1)).forEach(([name, k]) => {
      const option = document.createElement("option");
      option.value = k;
      option.textContent = name;
      $(id).append(option);
    });
    $(id).addEventListener("change", filter);
  }

  // the frames behind a bar of the histogram of a figure, and the sequences that they are of
  function showBar(figure, place) {
    const { edges, counts, frames } = behind[figure];
    const listed = frames[place] || [];
    only = new Set(listed.map(([row]) => row));
    const many = counts[place] > listed.length ? `, the ${listed.length} largest of them` : "";
    const box = $("bar");
    box.replaceChildren();
    const all = document.createElement("button");
    all.type = "button";
    all.textContent = "show all sequences";
    all.addEventListener("click", () => { location.hash = "all"; });
    const words = document.createElement("p");
    words.append(`${counts[place]} frames with ${figure} from ${edges[place]} to ${edges[place + 1]}${many}. `, all);
    box.append(words);
    for (const [k, number, found] of listed) {
      const made = link(`${place_of(rows[k])}/index.html#frame-${number}`, `${value(rows[k], "sequence")} ${number}: ${found}`);
      box.append(made, " ");
    }
    box.hidden = false;
    filter();
    box.scrollIntoView();
  }

  const place_of = (row) => place(row).folder;

  function bar(words) {
    const [figure, at] = words.split("/");
    if (!/^[A-Za-z0-9_]+$/.test(figure)) return;
    if (behind[figure]) { showBar(figure, Number(at)); return; }
    const script = document.createElement("script");
    script.src = `bars/${figure}.js`;
    script.addEventListener("load", () => { if (behind[figure]) showBar(figure, Number(at)); });
    document.body.append(script);
  }

  // a link `#code=half-seen` shows the sequences that have this code, `#bar=s2m_median/3` the frames behind a bar
  function follow() {
    const asked = new URLSearchParams(location.hash.slice(1));
    if (asked.get("bar") !== null) { bar(asked.get("bar")); return; }
    if (only) { only = null; $("bar").hidden = true; filter(); }
    const code = asked.get("code");
    if (code === null) return;
    const found = data.codes.indexOf(code);
    $("code").value = found < 0 ? "" : String(found);
    filter();
    $("all").scrollIntoView();
  }

  let waiting = null;
  $("search").addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(filter, 60); });
  fill("state", data.states);
  fill("code", data.codes);
  fill("expression", data.expressions);
  $("reviewed").addEventListener("change", filter);
  $("before").addEventListener("click", () => { page--; draw(); });
  $("after").addEventListener("click", () => { page++; draw(); });
  for (const button of document.querySelectorAll("[data-sort]"))
    button.addEventListener("click", () => {
      const column = button.dataset.sort;
      sorted = { column, up: sorted.column === column ? !sorted.up : ["sequence", "state", "expression"].includes(column) };
      sort();
    });
  window.addEventListener("hashchange", follow);
  window.report = { filter, bars: (figure, found) => { behind[figure] = found; }, count: () => shown.length, first: () => value(rows[shown[0]], "sequence") };
  filter();
  follow();
})();
