
"use strict";
(() => {
  const themes = ["as the system", "light", "dark"];
  const button = document.getElementById("theme");
  const remembered = () => { try { return Number(localStorage.getItem("lidiag-theme")) || 0; } catch { return 0; } };
  const remember = (choice) => { try { localStorage.setItem("lidiag-theme", String(choice)); } catch { /* a page without storage forgets */ } };
  let theme = remembered() % themes.length;
  const show = () => {
    if (theme === 0) document.documentElement.removeAttribute("data-theme");
    else document.documentElement.setAttribute("data-theme", themes[theme]);
    button.querySelector("span").textContent = themes[theme];
  };
  button.hidden = false;
  button.addEventListener("click", () => { theme = (theme + 1) % themes.length; remember(theme); show(); });
  show();

  const value = (row, column) => {
    const cell = row.cells[column];
    const text = cell.dataset.value ?? cell.textContent.trim();
    const numeric = text.replace(/,/g, "");
    return numeric !== "" && !Number.isNaN(parseFloat(numeric)) && /^[-+]?[\d.]/.test(numeric) ? parseFloat(numeric) : text;
  };
  const order = (a, b) => (typeof a === typeof b ? (a < b ? -1 : a > b ? 1 : 0) : typeof a === "number" ? -1 : 1);

  for (const table of document.querySelectorAll("table.sortable")) {
    const body = table.tBodies[0];
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const sort = document.createElement("button");
      sort.type = "button";
      sort.textContent = head.textContent;
      head.replaceChildren(sort);
      sort.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const rows = [...body.rows].map((row) => [value(row, column), row]);
        rows.sort((a, b) => (down ? -1 : 1) * order(a[0], b[0]));
        body.append(...rows.map((pair) => pair[1]));
      });
    });
    const label = document.createElement("label");
    label.className = "filter";
    label.append("Filter ");
    const input = document.createElement("input");
    input.type = "search";
    input.setAttribute("aria-label", "Filter " + table.dataset.filter);
    label.append(input);
    table.parentElement.before(label);
    const texts = new Map([...body.rows].map((row) => [row, row.textContent.toLowerCase()]));
    input.addEventListener("input", () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      for (const [row, text] of texts) row.hidden = !words.every((word) => text.includes(word));
    });
  }
})();
