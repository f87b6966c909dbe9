"use strict";
// Sorts, filters and pages the rows. Everything it needs stands in the table; without it, all rows are shown.

function number(text) {
  return text.trim() === "" ? NaN : Number(text);
}

function compare(one, other) {
  const a = number(one), b = number(other);
  if (one === "" || other === "") return (one === "") - (other === "");
  if (Number.isNaN(a) || Number.isNaN(b)) return one < other ? -1 : one > other ? 1 : 0;
  return a - b;
}

class List {
  constructor(element, form) {
    this.form = form;
    this.body = element.querySelector("tbody");
    this.cards = element.querySelector(".cards");
    this.pager = element.querySelector(".pager");
    this.place = element.querySelector("[data-place]");
    this.names = [...element.querySelectorAll("thead th")].map((head) => head.dataset.name);
    this.heads = [...element.querySelectorAll("thead th")];
    this.rows = [...this.body.rows].map((line) => {
      const card = document.getElementById(line.dataset.card);
      const cells = [...line.cells];
      return {
        line, card,
        keys: cells.map((cell) => cell.dataset.key),
        texts: cells.map((cell) => cell.textContent.trim()),
        words: (line.textContent + " " + card.textContent).toLowerCase(),
      };
    });
    this.order = [...this.rows];
    this.page = 0;
    this.heads.forEach((head, column) => this.makeSortable(head, column));
    this.pager.hidden = false;
    this.pager.addEventListener("click", (event) => {
      const turn = Number(event.target.dataset.turn);
      if (turn) this.show(this.page + turn);
    });
  }

  makeSortable(head, column) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      this.heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      this.order = [...this.rows].sort((a, b) => {
        const one = a.keys[column], other = b.keys[column];
        const sign = down && one !== "" && other !== "" ? -1 : 1; // what is not known stays last
        return sign * compare(one, other);
      });
      this.show(0);
    });
  }

  fits(row, wanted) {
    if (wanted.search && !row.words.includes(wanted.search)) return false;
    return wanted.values.every(([name, value]) => {
      const column = this.names.indexOf(name);
      return column < 0 || row.texts[column] === value;
    }) && wanted.bounds.every(([name, side, value]) => {
      const column = this.names.indexOf(name);
      const known = column < 0 ? NaN : number(row.keys[column]);
      return column < 0 || (side === "least" ? known >= value : known <= value);
    });
  }

  wanted() {
    const given = [...new FormData(this.form)].filter(([, value]) => value !== "");
    const field = Object.fromEntries(given);
    return {
      search: (field.search || "").trim().toLowerCase(),
      size: Number(field.size),
      values: given.filter(([name, value]) => value.startsWith("=") && name !== "search").map(([name, value]) => [name, value.slice(1)]),
      bounds: given.filter(([name]) => name.includes("-")).map(([name, value]) => [...name.split("-"), value])
        .map(([name, side, value]) => [name, side, ["error", "distance"].includes(name) ? value / 100 : Number(value)]),
    };
  }

  show(page, anchor) {
    const wanted = this.wanted();
    const fitting = this.order.filter((row) => this.fits(row, wanted));
    const at = anchor ? fitting.findIndex((row) => row.card.id === anchor) : -1;
    const last = Math.max(0, Math.ceil(fitting.length / wanted.size) - 1);
    this.page = Math.min(Math.max(at >= 0 ? Math.floor(at / wanted.size) : page, 0), last);
    const start = this.page * wanted.size, shown = fitting.slice(start, start + wanted.size);
    for (const row of this.rows) row.line.hidden = row.card.hidden = true;
    for (const row of shown) {
      row.line.hidden = row.card.hidden = false;
      this.body.append(row.line);
      this.cards.append(row.card);
    }
    const of = fitting.length === this.rows.length ? "" : ` (of ${this.rows.length})`;
    this.place.textContent = shown.length ? `${start + 1} to ${start + shown.length} of ${fitting.length} rows${of}` : `no row of ${this.rows.length} fits`;
    const [previous, next] = this.pager.querySelectorAll("button");
    previous.disabled = this.page === 0;
    next.disabled = this.page === last;
    return at >= 0;
  }
}

const form = document.getElementById("controls");
if (form) {
  const lists = [...document.querySelectorAll("[data-list]")].map((element) => new List(element, form));
  const refresh = () => lists.forEach((list) => list.show(0));
  const layers = () => {
    for (const box of form.querySelectorAll("[data-layer]")) document.body.classList.toggle("hide-" + box.dataset.layer, !box.checked);
  };
  const follow = () => {
    const anchor = decodeURIComponent(location.hash.slice(1));
    if (anchor.startsWith("row-") && lists.some((list) => list.show(list.page, anchor))) document.getElementById(anchor).scrollIntoView();
  };
  form.hidden = false;
  form.addEventListener("input", () => { layers(); refresh(); });
  form.addEventListener("reset", () => setTimeout(() => { layers(); refresh(); }));
  form.addEventListener("submit", (event) => event.preventDefault());
  window.addEventListener("hashchange", follow);
  refresh();
  follow();
}
