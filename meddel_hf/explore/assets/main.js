// The page: reads what it was given, and wires threshold, bars, map, gallery and marks to one another.

const PALETTE = ["#0072b2", "#d55e00", "#009e73", "#b2568a", "#a87500", "#3d9bd1", "#7a5cc0", "#8a4b20", "#4f7a28", "#c2413a", "#26808c", "#9c6ade"];
const DARK = ["#57b0ea", "#ff9148", "#3fd0a4", "#e793c2", "#e2b13c", "#8fd0f5", "#b39df0", "#d19a6e", "#9fcf6b", "#ff9a92", "#63c7d3", "#cdb0ff"];
const CURVE_POINTS = 41;
const MOST_BARS = 60;
const percent = (share) => `${(100 * share).toFixed(share < 0.1 ? 2 : 1)} %`;
const at = (id) => document.getElementById(id);

class Page {
  constructor(pool, pictures, token) {
    Object.assign(this, { pool, pictures, token });
    this.marks = new Map();
    this.filters = { lasso: null, value: null, search: null };
    this.tab = null;
    this.gallery = new Gallery(this, at("cards"));
    this.dark = matchMedia("(prefers-color-scheme: dark)");
    this.dark.addEventListener("change", () => this.paint());
  }

  async begin() {
    const { facts, arrays } = this.pool;
    at("loading").remove();
    document.querySelector("main").hidden = at("gallery").hidden = false;
    at("about").textContent = this.about();
    const still = facts.eta === null || arrays.order ? [] : ["No other threshold can be looked up here: no graph of near-duplicates is stored with this selection"];
    for (const note of [...facts.why_not, ...still, ...facts.notes]) {
      at("notes").append(make("li", { className: note.startsWith("warning: ") ? "warning" : "" }, note.replace(/^warning: /, "")));
    }
    this.beginMap();
    this.beginBars();
    this.beginGallery();
    this.beginMarks();
    this.beginKeys();
    this.refresh();
    await this.beginThreshold();
  }

  about() {
    const { facts } = this.pool, { selector, retention, then } = facts.settings;
    const asked = retention ? `, ${percent(retention)} asked for` : "";
    const drawn = then ? `, then ${then}` : "";
    const eta = facts.eta === null ? "" : `, eta ${facts.eta.toFixed(4)}`;
    return `selector ${selector}${drawn}${asked}${eta}${facts.encoder ? `; encoder ${facts.encoder}` : ""}`;
  }

  // After anything changed that decides what is kept.
  refresh() {
    this.groups = null;
    this.outcome();
    this.bars();
    this.paint();
    this.tabs();
    this.list();
  }

  outcome() {
    const { pool } = this, counts = pool.counts(), kept = counts[KEPT];
    at("lead").replaceChildren(
      make("b", {}, grouped(kept)), ` of ${grouped(pool.length)} frames stay, ${percent(kept / pool.length)}`,
      pool.now.moved ? `, at eta ${pool.now.eta.toFixed(4)}` : "",
    );
    at("stack").replaceChildren(...counts.map((count, state) => {
      const part = make("span");
      part.style.width = `${(100 * count) / pool.length}%`;
      part.style.background = `var(--s${state})`;
      return part;
    }));
    at("counts").replaceChildren(...counts.map((count, state) => count ? this.entry(`var(--s${state})`, `${STATE_WORDS[state]} ${grouped(count)}`) : ""));
  }

  entry(color, words) {
    const dot = make("i");
    dot.style.background = color;
    return make("li", {}, dot, words);
  }

  // Threshold

  async beginThreshold() {
    const { arrays, facts } = this.pool;
    if (!arrays.order) return;
    const { order, stay } = arrays, { floor, groups, rows } = facts;
    const partsOf = (prefix, about) => {
      const [order, starts, later, cosine, stay] = ["order", "starts", "later", "cosine", "stay"].map((name) => arrays[prefix + name]);
      return { order, starts, later, cosine, stay, rows, ...about };
    };
    const second = facts.drawn && partsOf("drawn-", facts.drawn);
    this.ask = answers(partsOf("", { floor, groups }), second);
    this.lowest = Math.ceil((await this.firstOfInterest(floor)) * 10000) / 10000;
    at("threshold").hidden = false;
    for (const input of [at("eta"), at("eta-number")]) {
      [input.min, input.max] = [input.type === "range" ? this.lowest : floor, 1];
      input.addEventListener("input", () => this.move({ ask: "eta", eta: Number(input.value) }));
    }
    this.several = facts.settings.selector === "dedup" && this.pool.base.state.includes(NOT_SELECTED);
    at("keep-row").hidden = !second && (facts.settings.selector === "dedup" || !stay);
    const [most, least] = second ? [second.order.length / rows, second.fewest / rows] : [order.length / rows, Math.max(1, groups) / rows];
    const keep = (retention) => this.move({ ask: second ? "draw" : "retention", retention });
    const share = (value) => Math.exp(Math.log(least) + (value / 1000) * (Math.log(most) - Math.log(least)));
    this.placeOf = (kept) => Math.round((1000 * Math.log(kept / least)) / Math.log(most / least));
    at("keep").addEventListener("input", () => keep(share(Number(at("keep").value))));
    at("keep-number").addEventListener("input", () => keep(Number(at("keep-number").value) / 100));
    at("reset").addEventListener("click", () => this.back());
    at("curve-from").textContent = this.lowest.toFixed(2);
    this.showThreshold();
    this.drawCurve();
  }

  // The lowest eta that can be answered; or one below the selection's at which hardly a frame is left, if that is higher.
  async firstOfInterest(floor) {
    const few = 0.02 * this.pool.length, { eta } = this.pool.base;
    let [low, high] = [Math.max(floor, -1), eta ?? 1];
    if ((await this.ask({ ask: "count", eta: low })).count > few) return low;
    while (high - low > 0.002) {
      const middle = (low + high) / 2;
      if ((await this.ask({ ask: "count", eta: middle })).count > few) high = middle;
      else low = middle;
    }
    return low;
  }

  // The last question is answered; those that it overtook are not.
  async move(question) {
    this.wanted = question;
    if (this.asking) return;
    this.asking = true;
    while (this.wanted) {
      const asked = this.wanted;
      this.wanted = null;
      const answer = await this.ask(asked);
      if (this.wanted) continue;
      if (answer.error) {
        at("moved").textContent = `Not known here: ${answer.error}.`;
        at("reset").disabled = false;
        continue;
      }
      this.milliseconds = answer.milliseconds;
      if (asked.ask === "draw") this.pool.draw(answer);
      else this.pool.move(answer);
      this.showThreshold(asked);
      this.refresh();
    }
    this.asking = false;
  }

  back() {
    this.wanted = null;
    this.pool.now = this.pool.base;
    this.showThreshold();
    this.refresh();
  }

  showThreshold(asked) {
    const { pool } = this, { moved, eta } = pool.now, kept = pool.counts()[KEPT] / pool.length;
    const now = eta ?? 1;
    if (asked?.ask !== "eta" || document.activeElement !== at("eta-number")) at("eta-number").value = now.toFixed(4);
    at("eta").value = now;
    at("keep").value = this.placeOf(kept);
    if (document.activeElement !== at("keep-number")) at("keep-number").value = (100 * kept).toFixed(2);
    at("reset").disabled = !moved;
    const words = [];
    if (moved) {
      const several = this.several && asked?.ask === "eta";
      words.push("Looked up in the stored graph of near-duplicates; no embeddings were read.");
      if (several) words.push("This is the first step alone: which of the frames that are left would be drawn, the embeddings tell.");
    } else if (eta !== null && eta < this.lowest) {
      words.push(`The selection's own eta, ${eta.toFixed(4)}, is below ${this.lowest}, the lowest that the pairs in this page answer.`);
    }
    at("moved").textContent = words.join(" ");
    const retention = pool.facts.settings.retention;
    const byEta = `--eta ${now}${this.several && retention ? ` --retention ${retention}` : ""}`;
    const option = asked?.ask === "eta" ? byEta : `--retention ${this.fewestDigits(asked?.retention ?? 1)}`;
    at("command").textContent = moved ? `meddel select … ${option}` : "";
    this.drawAt(now);
  }

  // A retention that asks for as many frames.
  fewestDigits(retention) {
    const { rows } = this.pool.facts, target = halfToEven(retention * rows);
    for (let digits = 3; digits < 17; digits++) {
      const short = Number(retention.toPrecision(digits));
      if (halfToEven(short * rows) === target) return short;
    }
    return retention;
  }

  async drawCurve() {
    const { lowest } = this, { rows } = this.pool.facts, points = [];
    for (let place = 0; place < CURVE_POINTS; place++) {
      const eta = 1 - ((1 - lowest) * place) / (CURVE_POINTS - 1);
      const { count, error } = await this.ask({ ask: "count", eta: Math.max(eta, this.pool.facts.floor) });
      if (!error) points.push([(600 * (eta - lowest)) / (1 - lowest), 108 - (104 * count) / rows]);
    }
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    path.setAttribute("d", points.map(([x, y], place) => `${place ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join(""));
    at("curve").append(path);
    document.body.dataset.curve = "drawn";
  }

  drawAt(eta) {
    for (const [name, value] of [["own", this.pool.base.eta ?? 1], ["at", eta]]) {
      let line = at("curve").querySelector(`.${name}`);
      if (!line) {
        line = document.createElementNS("http://www.w3.org/2000/svg", "line");
        line.setAttribute("class", name);
        at("curve").append(line);
      }
      const x = clipped((600 * (value - this.lowest)) / (1 - this.lowest), 0, 600);
      for (const [key, place] of [["x1", x], ["x2", x], ["y1", 0], ["y2", 110]]) line.setAttribute(key, place);
    }
  }

  // Bars

  beginBars() {
    const { columns } = this.pool;
    if (!columns.length) return;
    at("shares").hidden = false;
    columns.forEach(({ name }, number) => at("by").append(make("option", { value: number }, name)));
    at("by").addEventListener("change", () => this.bars());
    at("bars").addEventListener("click", ({ target }) => {
      const button = target.closest("button");
      if (!button) return;
      const column = Number(at("by").value), code = Number(button.dataset.code), now = this.filters.value;
      this.filters.value = now?.column === column && now.code === code ? null : { column, code };
      this.bars();
      this.list();
    });
  }

  bars() {
    const { pool } = this;
    if (!pool.columns.length) return;
    const number = Number(at("by").value), { codes, values } = pool.columns[number], { state } = pool.now;
    const all = new Array(values.length + 1).fill(0), kept = all.slice();
    for (let row = 0; row < pool.length; row++) {
      all[codes[row]]++;
      kept[codes[row]] += state[row] === KEPT;
    }
    const lines = values.map((value, place) => [value, place + 1]);
    if (all[0]) lines.push(["none", 0]);
    const rest = lines.length - MOST_BARS;
    const more = rest > 0 ? [make("span", { className: "sub" }, `and ${rest} more, of fewer frames`)] : [];
    replaced(at("bars"), ...lines.slice(0, MOST_BARS).flatMap(([value, code]) => {
      const chosen = this.filters.value?.column === number && this.filters.value.code === code;
      const name = make("button", { type: "button", name: code, title: value, data: { code } }, code ? printable(value) : make("i", {}, "none"));
      name.setAttribute("aria-pressed", chosen);
      const bar = make("i");
      bar.style.width = `${(100 * kept[code]) / Math.max(1, all[code])}%`;
      const lost = all[code] && !kept[code];
      const words = `${grouped(kept[code])} of ${grouped(all[code])}, ${percent(kept[code] / Math.max(1, all[code]))}`;
      return [name, make("span", { className: "bar" }, bar), make("span", { className: `number ${lost ? "lost" : ""}` }, words)];
    }), ...more);
  }

  // Map

  beginMap() {
    const { arrays, facts, columns } = this.pool;
    if (!arrays.x) {
      at("plane").hidden = true;
      document.querySelector("main").classList.add("flat");
      return;
    }
    this.map = new PlaneMap(at("map"), arrays, {
      onHover: (row, event) => this.tip(row, event),
      onPick: (row) => this.open(row),
      onLasso: (mask, count) => {
        this.filters.lasso = mask && { mask, count };
        this.toggleLasso(false);
        this.list();
      },
    });
    at("map-note").textContent = `Two principal components of the embeddings: ${percent(facts.share)} of their variance. What lies together is alike, what lies apart may still be alike in other directions.${facts.rows > CROWD ? " Where many points share a place, its colour is their mean." : ""}`;
    at("color").append(make("option", { value: "state" }, "what became of it"));
    columns.forEach(({ name }, number) => at("color").append(make("option", { value: number }, name)));
    if (arrays.cluster) at("color").append(make("option", { value: "cluster" }, "cluster"));
    for (const id of ["color", "kept-only"]) at(id).addEventListener("change", () => this.paint());
    at("lasso").addEventListener("click", () => this.toggleLasso(!this.map.lassoing));
    at("whole").addEventListener("click", () => this.wholeMap());
  }

  toggleLasso(on) {
    this.map.lassoing = on;
    at("lasso").setAttribute("aria-pressed", on);
    at("map").classList.toggle("lassoing", on);
  }

  wholeMap() {
    this.map.view = { scale: 1, left: 0, top: 0 };
    this.map.draw();
  }

  paint() {
    if (!this.map) return;
    const { pool } = this, { state } = pool.now, by = at("color").value, style = getComputedStyle(document.body);
    const palette = (this.dark.matches ? DARK : PALETTE).map(rgba), faint = rgba(style.getPropertyValue("--faint").trim());
    const colors = new Uint32Array(pool.length), front = new Uint8Array(pool.length), keptOnly = at("kept-only").checked;
    const legend = [];
    let colorOf;
    if (by === "state") {
      const each = STATE_WORDS.map((_, number) => rgba(style.getPropertyValue(`--s${number}`).trim()));
      colorOf = (row) => each[state[row]];
      const counts = pool.counts();
      counts.forEach((count, number) => count && legend.push(this.entry(`var(--s${number})`, STATE_WORDS[number])));
    } else if (by === "cluster") {
      colorOf = (row) => (pool.arrays.cluster[row] < 0 ? faint : palette[pool.arrays.cluster[row] % palette.length]);
    } else {
      const { codes, values } = pool.columns[Number(by)], names = this.dark.matches ? DARK : PALETTE;
      colorOf = (row) => (codes[row] && codes[row] <= palette.length ? palette[codes[row] - 1] : faint);
      values.slice(0, palette.length).forEach((value, place) => legend.push(this.entry(names[place], printable(value))));
      if (values.length > palette.length) legend.push(this.entry("var(--faint)", `${values.length - palette.length} others`));
    }
    for (let row = 0; row < pool.length; row++) {
      front[row] = state[row] === KEPT;
      if (!keptOnly || front[row]) colors[row] = colorOf(row);
    }
    at("legend").replaceChildren(...legend);
    this.map.color(colors, front);
  }

  tip(row, event) {
    const tip = at("tip");
    tip.hidden = row < 0;
    if (row < 0) return;
    if (tip.dataset.row !== String(row)) {
      tip.dataset.row = row;
      tip.replaceChildren(this.gallery.picture(row), this.pool.why(row));
    }
    const wide = tip.offsetWidth, high = tip.offsetHeight;
    tip.style.left = `${event.clientX + 18 + wide > innerWidth ? Math.max(4, event.clientX - wide - 14) : event.clientX + 18}px`;
    tip.style.top = `${clipped(event.clientY - high / 2, 4, Math.max(4, innerHeight - high - 4))}px`;
  }

  // Gallery

  beginGallery() {
    at("tabs").addEventListener("click", ({ target }) => {
      if (!target.dataset.tab) return;
      this.tab = target.dataset.tab;
      this.tabs();
      this.list();
    });
    at("order").addEventListener("change", () => this.list());
    at("cards").addEventListener("click", ({ target }) => {
      const frame = target.closest(".frame");
      if (frame) this.open(Number(frame.dataset.row));
    });
    let waiting;
    at("search").addEventListener("input", () => {
      clearTimeout(waiting);
      waiting = setTimeout(() => {
        const text = at("search").value.trim();
        this.filters.search = text ? { ...this.pool.search(text), text } : null;
        if (this.filters.search && this.tab === "groups") this.tab = "all";
        this.tabs();
        this.list();
      }, 120);
    });
  }

  // name -> [words, count, orders, explanation]
  get lists() {
    const counts = this.pool.counts(), marked = this.marks.size, { eta } = this.pool.now;
    const above = eta === null ? "" : ` (eta ${eta.toFixed(4)})`;
    return {
      groups: ["Near-duplicates", counts[NEAR_DUPLICATE], ["nearest to the threshold first", "largest group first"],
        `The frame that stands for the others, then those, the most alike first. Groups whose least alike frame is nearest to the threshold${above} come first: these decide whether it is right.`],
      [`state${NOT_SELECTED}`]: ["Not selected", counts[NOT_SELECTED], this.pool.arrays.nearest ? ["least like anything kept first", "in the pool's order"] : ["in the pool's order"],
        "No near-duplicates of anything, but not drawn either. What is least like anything kept comes first: rare looks may be among them."],
      [`state${OUTLIER}`]: ["Outliers", counts[OUTLIER], [this.pool.arrays.distance ? "farthest first" : "in the pool's order"], "Far from the centre of their cluster."],
      [`state${IN_REFERENCE}`]: ["In the reference", counts[IN_REFERENCE], ["nearest to the threshold first"], "Look like a frame of the reference set."],
      [`state${SET_ASIDE}`]: ["Set aside", counts[SET_ASIDE], ["in the pool's order"], "Somebody said that these are never to be kept."],
      [`state${UNREADABLE}`]: ["Unreadable", counts[UNREADABLE], ["in the pool's order"], "Could not be decoded when they were embedded."],
      [`state${KEPT}`]: ["Kept", counts[KEPT], ["in the pool's order", "standing for most first"], ""],
      marked: ["Marked", marked, ["in the pool's order"], ""],
      all: ["All", this.pool.length, ["in the pool's order"], ""],
    };
  }

  tabs() {
    const shown = Object.entries(this.lists).filter(([name, [, count]]) => count || name === "all");
    if (!shown.some(([name]) => name === this.tab)) this.tab = shown[0][0];
    replaced(at("tabs"), ...shown.map(([name, [words, count]]) => {
      const button = make("button", { type: "button", name, data: { tab: name } }, `${words} ${grouped(count)}`);
      button.setAttribute("role", "tab");
      button.setAttribute("aria-selected", name === this.tab);
      return button;
    }));
    const [, , orders, explained] = this.lists[this.tab], before = at("order").value;
    at("order").replaceChildren(...orders.map((words) => make("option", { value: words }, words)));
    if (orders.includes(before)) at("order").value = before;
    at("order").parentElement.hidden = orders.length < 2;
    at("explained").textContent = explained;
  }

  passes(row) {
    const { lasso, value, search } = this.filters;
    return (!lasso || lasso.mask[row]) && (!search || search.mask[row]) &&
      (!value || this.pool.columns[value.column].codes[row] === value.code);
  }

  // Groups of near-duplicates: leader, members from most to least alike, the least cosine.
  findGroups() {
    if (this.groups) return this.groups;
    const { state, of, similarity } = this.pool.now, byLeader = new Map();
    for (let row = 0; row < this.pool.length; row++) {
      if (state[row] !== NEAR_DUPLICATE || of[row] < 0) continue;
      const group = byLeader.get(of[row]);
      if (!group) byLeader.set(of[row], { leader: of[row], members: [row], least: similarity[row] });
      else {
        group.members.push(row);
        group.least = Math.min(group.least, similarity[row]);
      }
    }
    this.groups = [...byLeader.values()];
    return this.groups;
  }

  // Rows of the list that is open that pass the filters.
  listed() {
    const { pool, tab } = this, { state } = pool.now, rows = [];
    const wanted = tab === "groups" ? NEAR_DUPLICATE : tab.startsWith("state") ? Number(tab.slice(5)) : -1;
    const leaders = new Set(tab === "groups" ? this.findGroups().map(({ leader }) => leader) : []);
    for (let row = 0; row < pool.length; row++) {
      const here = tab === "all" || (tab === "marked" ? this.marks.has(row) : state[row] === wanted || leaders.has(row));
      if (here && this.passes(row)) rows.push(row);
    }
    return rows;
  }

  list() {
    this.chips();
    this.bulk();
    const order = at("order").value, { pool } = this, { similarity } = pool.now;
    const nothing = "No frame here with these filters.";
    if (this.tab === "groups" && this.findGroups().length) {
      let groups = this.findGroups().filter(({ leader, members }) => this.passes(leader) || members.some((row) => this.passes(row)));
      groups = groups.sort(order.startsWith("largest")
        ? (a, b) => b.members.length - a.members.length || a.leader - b.leader
        : (a, b) => a.least - b.least || a.leader - b.leader);
      this.gallery.show(groups.length, (place) => {
        const group = groups[place];
        group.members.sort((a, b) => similarity[b] - similarity[a] || a - b);
        return this.gallery.group(group);
      }, nothing);
      return;
    }
    const rows = this.listed();
    const { nearestSimilarity, distance, referenceSimilarity } = pool.arrays;
    if (order.startsWith("least like")) rows.sort((a, b) => nearestSimilarity[a] - nearestSimilarity[b] || a - b);
    if (order.startsWith("farthest")) rows.sort((a, b) => distance[b] - distance[a] || a - b);
    if (this.tab === `state${IN_REFERENCE}`) rows.sort((a, b) => referenceSimilarity[a] - referenceSimilarity[b] || a - b);
    const standing = new Map(this.findGroups().map(({ leader, members }) => [leader, members.length]));
    if (order.startsWith("standing")) rows.sort((a, b) => (standing.get(b) ?? 0) - (standing.get(a) ?? 0) || a - b);
    this.gallery.show(rows.length, (place) => this.gallery.frame(rows[place], this.words(rows[place], standing)), nothing);
  }

  // All frames that the filters let through, at once: marks, and their ids. Without a filter it would be the pool.
  bulk() {
    const { lasso, value, search } = this.filters, count = lasso || value || search ? this.listed().length : 0;
    at("bulk").hidden = !count;
    at("bulk-words").textContent = count === 1 ? "This frame:" : `All ${grouped(count)} of these frames:`;
  }

  markAll(mark) {
    this.unmarked = new Map(this.marks);
    for (const row of this.listed()) {
      if (mark) this.marks.set(row, mark);
      else this.marks.delete(row);
    }
    this.markedAll();
  }

  markedAll() {
    at("bulk-undo").disabled = !this.unmarked;
    this.marked();
    this.tabs();
    this.list();
  }

  offer(name, content, type) {
    const link = make("a", { href: URL.createObjectURL(new Blob([content], { type })), download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  words(row, standing) {
    const { arrays, now } = this.pool;
    switch (now.state[row]) {
      case KEPT: return standing.has(row) ? `kept, for ${grouped(standing.get(row))}` : "kept";
      case NEAR_DUPLICATE: return now.of[row] < 0 ? "near-duplicate" : `cosine ${now.similarity[row].toFixed(4)}`;
      case NOT_SELECTED: return arrays.nearest && !now.moved ? `left out, cosine ${arrays.nearestSimilarity[row].toFixed(3)}` : "not selected";
      case OUTLIER: return arrays.distance ? `distance ${arrays.distance[row].toFixed(3)}` : "outlier";
      case IN_REFERENCE: return `cosine ${arrays.referenceSimilarity[row].toFixed(4)}`;
      default: return STATE_WORDS[now.state[row]];
    }
  }

  chips() {
    const { lasso, value, search } = this.filters, chips = [];
    const chip = (words, clear) => {
      const close = make("button", { type: "button", title: "take this filter away" }, "×");
      close.setAttribute("aria-label", `take the filter ${words} away`);
      close.addEventListener("click", clear);
      chips.push(make("span", { className: "chip" }, words, close));
    };
    if (lasso) chip(`lasso: ${plural(lasso.count, "frame")}`, () => this.map.clearLasso());
    if (value) {
      const { name, values } = this.pool.columns[value.column];
      chip(`${name}: ${value.code ? printable(values[value.code - 1]) : "none"}`, () => {
        this.filters.value = null;
        this.bars();
        this.list();
      });
    }
    if (search) chip(`${plural(search.count, "id")} ${search.count === 1 ? "holds" : "hold"} “${search.text}”`, () => {
      at("search").value = "";
      this.filters.search = null;
      this.list();
    });
    at("filters").replaceChildren(...chips);
  }

  // A frame

  open(row) {
    const { pool, gallery } = this, id = pool.id(row), dialog = at("detail"), { of, state } = pool.now;
    dialog.dataset.row = row;
    const mark = this.marks.get(row);
    const action = (words, what, pressed) => {
      const button = make("button", { type: "button", name: words }, words);
      if (pressed !== undefined) button.setAttribute("aria-pressed", pressed);
      button.addEventListener("click", what);
      return button;
    };
    const copy = action("Copy id", async () => {
      try {
        await navigator.clipboard.writeText(id);
        copy.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(dialog.querySelector(".whole-id"));
        copy.textContent = "Selected: press Ctrl C";
      }
    });
    const facts = pool.columns.filter(({ codes }) => codes[row]).flatMap(({ name, values, codes }) => [make("dt", {}, name), make("dd", {}, values[codes[row] - 1])]);
    if (pool.arrays.cluster?.[row] >= 0) facts.push(make("dt", {}, "cluster"), make("dd", {}, String(pool.arrays.cluster[row])));
    const close = action("Close", () => dialog.close());
    const inside = [make("div", { className: "detail" },
      gallery.picture(row, "big"),
      make("div", {},
        make("p", { className: "whole-id" }, id),
        make("p", { className: "why" }, pool.why(row)),
        make("div", { className: "actions" },
          copy,
          action("Always keep (K)", () => this.mark(row, mark === "keep" ? null : "keep"), mark === "keep"),
          action("Never keep (N)", () => this.mark(row, mark === "never" ? null : "never"), mark === "never"),
          close),
        make("dl", {}, ...facts)))];
    const strip = (title, rows) => rows.length && inside.push(make("h3", {}, title), make("div", { className: "strip" }, ...rows.map(([other, words]) => gallery.frame(other, words))));
    const near = pool.neighbors(row, 24);
    if (of[row] >= 0 && state[row] === NEAR_DUPLICATE) strip("What stands for it", [[of[row], `cosine ${pool.now.similarity[row].toFixed(4)}`]]);
    if (pool.arrays.nearest?.[row] >= 0 && !pool.now.moved) strip("The nearest kept frame", [[pool.arrays.nearest[row], `cosine ${pool.arrays.nearestSimilarity[row].toFixed(4)}`]]);
    strip("Its nearest frames, as far as pairs are stored", near.map(([other, cosine]) => [other, `cosine ${cosine.toFixed(4)}`]));
    replaced(dialog, ...inside);
    for (const frame of dialog.querySelectorAll(".frame")) frame.addEventListener("click", () => this.open(Number(frame.dataset.row)));
    if (!dialog.open) dialog.showModal();
    dialog.scrollTop = 0;
  }

  // Marks

  get drawer() {
    return `meddel-${this.pool.facts.fingerprint}`;
  }

  beginMarks() {
    this.given = new Map(this.pool.facts.overrides);
    for (const [row, mark] of this.given) this.marks.set(row, mark);
    try {
      for (const [id, mark] of JSON.parse(localStorage.getItem(this.drawer) ?? "[]")) {
        const row = this.pool.rowOf(id);
        if (row >= 0 && mark) this.marks.set(row, mark);
        else this.marks.delete(row);
      }
    } catch {
      // a browser that remembers nothing of pages on the disk
    }
    at("save").addEventListener("click", () => this.save());
    for (const [name, mark] of [["keep", "keep"], ["never", "never"], ["none", null]]) at(`bulk-${name}`).addEventListener("click", () => this.markAll(mark));
    at("bulk-undo").addEventListener("click", () => {
      this.marks = this.unmarked;
      this.unmarked = null;
      this.markedAll();
    });
    at("bulk-ids").addEventListener("click", () => this.offer("ids.txt", this.listed().map((row) => `${this.pool.id(row)}\n`).join(""), "text/plain"));
    at("forget").addEventListener("click", () => {
      this.marks.clear();
      this.unmarked = null;
      at("bulk-undo").disabled = true;
      this.marked();
      this.tabs();
      this.list();
    });
    this.showMarks();
  }

  mark(row, mark) {
    this.unmarked = null;
    at("bulk-undo").disabled = true;
    if (mark) this.marks.set(row, mark);
    else this.marks.delete(row);
    this.marked();
    for (const frame of document.querySelectorAll(`.frame[data-row="${row}"]`)) {
      frame.classList.remove("m-keep", "m-never");
      if (mark) frame.classList.add(`m-${mark}`);
    }
    this.tabs();
    if (at("detail").open && at("detail").dataset.row === String(row)) this.open(row);
  }

  // Remembers in what the marks differ from those that came with the page: null is one that was taken away.
  marked() {
    const undone = [...this.given.keys()].filter((row) => !this.marks.has(row)).map((row) => [row, null]);
    const differ = [...this.marks, ...undone].filter(([row, mark]) => this.given.get(row) !== mark);
    try {
      localStorage.setItem(this.drawer, JSON.stringify(differ.map(([row, mark]) => [this.pool.id(row), mark])));
      this.forgetful = false;
    } catch {
      this.forgetful = true; // as above, or more than it remembers
    }
    this.showMarks();
  }

  showMarks() {
    const marks = [...this.marks.values()], keep = marks.filter((mark) => mark === "keep").length;
    at("marked").hidden = !marks.length;
    const save = this.forgetful ? "; save them: this browser will not remember them" : "";
    at("marked-words").textContent = `${grouped(keep)} always kept, ${grouped(marks.length - keep)} never kept${save}`;
  }

  async save() {
    const rows = [...this.marks].sort(([a], [b]) => a - b);
    const content = parquet.parquetWriteBuffer({
      columnData: [
        { name: "id", data: rows.map(([row]) => this.pool.id(row)), type: "STRING", nullable: false },
        { name: "mark", data: rows.map(([, mark]) => mark), type: "STRING", nullable: false },
      ],
      codec: "UNCOMPRESSED",
    });
    if (this.token) {
      try {
        const answer = await fetch(`overrides?token=${this.token}`, { method: "POST", body: content }), said = await answer.text();
        at("override-command").textContent = answer.ok ? said : `Not saved: ${said}`;
      } catch {
        at("override-command").textContent = "Not saved: the server does not answer. Does meddel explore still run?";
      }
      return;
    }
    this.offer("overrides.parquet", content);
  }

  // Keys

  beginKeys() {
    at("help-open").addEventListener("click", () => at("help").showModal());
    at("detail").addEventListener("click", (event) => event.target === at("detail") && at("detail").close());
    addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const typing = event.target.matches("input:not([type=range]):not([type=checkbox]), select, textarea");
      if (typing) {
        if (event.key === "Escape") event.target.blur();
        return;
      }
      const frame = event.target.closest?.(".frame");
      const row = frame ? Number(frame.dataset.row) : at("detail").open ? Number(at("detail").dataset.row) : -1;
      const mark = { k: "keep", n: "never", u: null }[event.key.toLowerCase()];
      if (mark !== undefined && row >= 0) this.mark(row, mark);
      else if (event.key === "/") at("search").focus();
      else if (event.key === "?") at("help").showModal();
      else if (event.key.toLowerCase() === "l" && this.map) this.toggleLasso(!this.map.lassoing);
      else if (event.key === "0" && this.map) this.wholeMap();
      else if ((event.key === "[" || event.key === "]") && this.ask) this.step(event.key === "]" ? 0.001 : -0.001);
      else if (event.key.startsWith("Arrow") && frame) this.walk(frame, event.key);
      else return;
      event.preventDefault();
    });
  }

  step(change) {
    const eta = clipped((this.pool.now.eta ?? 1) + change, this.lowest, 1);
    this.move({ ask: "eta", eta: Math.round(eta * 10000) / 10000 });
  }

  walk(frame, key) {
    const frames = [...frame.closest("#cards, .strip").querySelectorAll(".frame")], place = frames.indexOf(frame);
    const { left, top } = frame.getBoundingClientRect();
    let next;
    if (key === "ArrowLeft") next = frames[place - 1];
    else if (key === "ArrowRight") next = frames[place + 1];
    else {
      const down = key === "ArrowDown", others = down ? frames.slice(place + 1) : frames.slice(0, place).reverse();
      const boxes = others.map((other) => [other, other.getBoundingClientRect()]);
      const line = boxes.find(([, box]) => (down ? box.top > top + 20 : box.top < top - 20));
      if (line) {
        const same = boxes.filter(([, box]) => Math.abs(box.top - line[1].top) < 20);
        next = same.reduce((a, b) => (Math.abs(b[1].left - left) < Math.abs(a[1].left - left) ? b : a))[0];
      }
    }
    next?.focus();
    next?.scrollIntoView({ block: "nearest" });
  }
}

// A function that asks the graph, in a worker where there is one.
function answers(parts, second) {
  const waiting = new Map();
  let number = 0;
  const worker = new Worker(URL.createObjectURL(new Blob([at("worker").textContent], { type: "text/javascript" })));
  worker.postMessage({ ask: "begin", graph: parts, second });
  worker.onmessage = ({ data }) => {
    waiting.get(data.number)(data);
    waiting.delete(data.number);
  };
  return (question) => new Promise((resolve) => {
    waiting.set(++number, resolve);
    worker.postMessage({ number, ...question });
  });
}

async function contents(token) {
  if (token) return (await fetch(`data?token=${token}`)).arrayBuffer();
  return inflated(bytesOf(at("data").textContent));
}

(async () => {
  const token = new URLSearchParams(location.search).get("token");
  try {
    const pool = new Pool(unpack(await contents(token)));
    const page = new Page(pool, new Pictures(at("pictures").textContent, pool.facts.has_frames ? token : null), token);
    for (const id of ["data", "pictures"]) at(id).remove();
    window.meddel = page; // for whoever looks at the page from its console
    await page.begin();
    document.body.dataset.ready = "yes";
    document.body.dataset.read = Math.round(performance.now());
  } catch (error) {
    document.body.prepend(make("p", { id: "loading" }, `This page cannot be shown: ${error.message}`));
    throw error;
  }
})();
