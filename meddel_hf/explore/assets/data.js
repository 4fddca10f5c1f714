// What the page was given: facts and arrays (explore/packing.py), small pictures, and the words for a row.

const KEPT = 0, NEAR_DUPLICATE = 1, NOT_SELECTED = 2, OUTLIER = 3, IN_REFERENCE = 4, UNREADABLE = 5, SET_ASIDE = 6;
const STATE_WORDS = [
  "kept", "near-duplicates", "not selected", "outliers", "in the reference", "unreadable", "set aside by hand",
];
const grouped = (number) => number.toLocaleString("en");
const plural = (number, one) => `${grouped(number)} ${one}${number === 1 ? "" : "s"}`;
const decoder = new TextDecoder("utf-8", { ignoreBOM: true }); // it is part of an id that begins with it

function unpack(buffer) {
  const length = Number(new DataView(buffer).getBigUint64(0, true));
  const head = JSON.parse(decoder.decode(new Uint8Array(buffer, 8, length)));
  const kinds = { Uint8Array, Uint16Array, Uint32Array, Int32Array, Float32Array, Float64Array };
  const arrays = {};
  for (const [name, [kind, begin, size]] of Object.entries(head.arrays)) {
    arrays[name] = new kinds[kind](buffer, 8 + length + begin, size);
  }
  return { facts: head.facts, arrays };
}

function bytesOf(base64) {
  const text = atob(base64), bytes = new Uint8Array(text.length);
  for (let at = 0; at < text.length; at++) bytes[at] = text.charCodeAt(at);
  return bytes;
}

async function inflated(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

class Pool {
  constructor({ facts, arrays }) {
    this.facts = facts;
    this.arrays = arrays;
    this.length = facts.rows;
    this.columns = facts.columns.map((column, number) => ({ ...column, codes: arrays[`column${number}`] }));
    this.base = {
      state: arrays.state,
      of: arrays.of ?? new Int32Array(this.length).fill(-1),
      similarity: arrays.similarity ?? new Float32Array(this.length),
      eta: facts.eta,
      moved: false,
    };
    this.now = this.base;
  }

  id(row) {
    const { idText, idEnds } = this.arrays, begin = row ? idEnds[row - 1] : 0;
    return decoder.decode(idText.subarray(begin, idEnds[row]));
  }

  // The row of an id, or -1.
  rowOf(id) {
    if (!this.rowsById) {
      this.rowsById = new Map();
      for (let row = 0; row < this.length; row++) this.rowsById.set(this.id(row), row);
    }
    return this.rowsById.get(id) ?? -1;
  }

  // Rows whose id holds the text, in either case of ASCII letters: a mask, and how many.
  search(text) {
    const lower = (byte) => (byte >= 65 && byte <= 90 ? byte + 32 : byte);
    const wanted = new TextEncoder().encode(text).map(lower), { idText, idEnds } = this.arrays;
    const mask = new Uint8Array(this.length);
    let count = 0;
    for (let row = 0, begin = 0; row < this.length; begin = idEnds[row++]) {
      const last = idEnds[row] - wanted.length;
      for (let at = begin; at <= last; at++) {
        let same = 0;
        while (same < wanted.length && lower(idText[at + same]) === wanted[same]) same++;
        if (same === wanted.length) {
          mask[row] = 1;
          count++;
          break;
        }
      }
    }
    return { mask, count };
  }

  counts() {
    if (!this.now.counts) {
      this.now.counts = new Array(STATE_WORDS.length).fill(0);
      for (const state of this.now.state) this.now.counts[state]++;
    }
    return this.now.counts;
  }

  // An answer of the graph in the place of the selection's own; rows in no group stay what they are.
  move(answer) {
    const state = this.base.state.slice(), of = this.base.of.slice(), similarity = this.base.similarity.slice();
    for (let row = 0; row < this.length; row++) {
      if (answer.kept[row] === 2 || ![KEPT, NEAR_DUPLICATE, NOT_SELECTED].includes(state[row])) continue;
      state[row] = answer.kept[row] ? KEPT : NEAR_DUPLICATE;
      of[row] = answer.of[row];
      similarity[row] = answer.similarity[row];
    }
    this.now = { state, of, similarity, eta: answer.eta, moved: true };
  }

  // Other rows drawn, among those that the first step left, in the place of the selection's own.
  draw(answer) {
    const { base } = this, state = base.state.slice();
    for (let row = 0; row < this.length; row++) {
      if (state[row] === KEPT || state[row] === NOT_SELECTED) state[row] = answer.kept[row] === 1 ? KEPT : NOT_SELECTED;
    }
    this.now = { ...base, state, counts: null, moved: true };
  }

  // One sentence on what became of a row: as `meddel why` says it.
  why(row) {
    const { state, of, similarity, moved } = this.now, { arrays, facts } = this, name = printable(this.id(row));
    const nearest = !moved && arrays.nearest ? arrays.nearest[row] : -1;
    const byNearest = () => `${printable(this.id(nearest))} (cosine ${arrays.nearestSimilarity[row].toFixed(4)})`;
    if (!facts.recorded) return `${name} is ${state[row] === KEPT ? "kept" : `dropped: ${facts.states[state[row]]}; no more is recorded`}`;
    switch (state[row]) {
      case KEPT: {
        let others = 0;
        for (const other of of) others += other === row;
        const byHand = arrays.byHand?.[row] === 1 ? ", by hand" : "";
        return `${name} is kept${byHand}` + (others ? `; it stands for ${plural(others, "near-duplicate")}` : "");
      }
      case NEAR_DUPLICATE: {
        const other = of[row];
        if (other < 0) return `${name} is dropped: near-duplicate of a frame that was forgotten`;
        const what = `${name} is dropped: near-duplicate of ${printable(this.id(other))} (cosine ` +
          `${similarity[row].toFixed(4)}), which is`;
        if (state[other] === KEPT) return `${what} kept`;
        return `${what} not selected either` + (nearest < 0 ? "" : `; the nearest kept frame is ${byNearest()}`);
      }
      case NOT_SELECTED: {
        const selector = facts.settings.selector;
        const why = selector === "dedup" ? "it is no near-duplicate" : `selector ${selector} did not choose it`;
        return `${name} is not selected: ${why}` + (nearest < 0 ? "" : `; the nearest kept frame is ${byNearest()}`);
      }
      case OUTLIER: {
        const far = arrays.distance[row].toFixed(4);
        return `${name} is dropped: outlier, ${far} from the centroid of cluster ${arrays.cluster[row]}`;
      }
      case IN_REFERENCE: {
        const at = arrays.reference[row];
        const what = at < 0 ? "a frame that was forgotten" : printable(facts.references[at]);
        const cosine = arrays.referenceSimilarity[row].toFixed(4);
        return `${name} is dropped: within reach of ${what} of the reference (cosine ${cosine})`;
      }
      case SET_ASIDE:
        return `${name} is dropped: set aside by hand`;
      default:
        return `${name} is dropped: unreadable; why stands in unreadable.parquet of its embeddings`;
    }
  }

  // Rows of the stored pairs of a row, the most alike first: [row, cosine].
  neighbors(row, most) {
    const { order, starts, later, cosine } = this.arrays;
    if (!order) return [];
    if (!this.rank) {
      this.rank = new Int32Array(this.length).fill(-1);
      order.forEach((each, rank) => (this.rank[each] = rank));
    }
    const own = this.rank[row], pairs = [];
    if (own < 0) return [];
    for (let at = starts[own]; at < starts[own + 1]; at++) pairs.push([order[later[at]], cosine[at]]);
    for (let rank = 0; rank < own; rank++) {
      for (let at = starts[rank]; at < starts[rank + 1]; at++) {
        if (later[at] === own) pairs.push([order[rank], cosine[at]]);
      }
    }
    return pairs.sort((a, b) => b[1] - a[1]).slice(0, most);
  }
}

// An id as it can be read on one line: what is empty or cannot be printed is escaped, as Python's ascii() does it.
function printable(text) {
  if (text.trim() && !/[\p{C}\p{Z}]/u.test(text.replaceAll(" ", ""))) return text;
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'", known = { "\n": "\\n", "\r": "\\r", "\t": "\\t" };
  const hex = (code, digits) => code.toString(16).padStart(digits, "0");
  const escaped = [...text].map((one) => {
    const code = one.codePointAt(0);
    if (one === quote || one === "\\") return `\\${one}`;
    if (code >= 32 && code < 127) return one;
    return known[one] ?? (code < 256 ? `\\x${hex(code, 2)}` : code < 65536 ? `\\u${hex(code, 4)}` : `\\U${hex(code, 8)}`);
  });
  return `${quote}${escaped.join("")}${quote}`;
}

// Addresses of small pictures: out of the page itself, or from the server that sent it.
class Pictures {
  constructor(base64, token) {
    this.token = token;
    this.addresses = new Map();
    if (!base64) return;
    const bytes = bytesOf(base64), view = new DataView(bytes.buffer), count = view.getUint32(0, true);
    this.ends = new Uint32Array(bytes.buffer, 4, count);
    this.content = bytes.subarray(4 + 4 * count);
  }

  // Null where there is none.
  of(row) {
    if (this.token) return `frame/${row}?token=${this.token}`;
    if (!this.ends) return null;
    const begin = row ? this.ends[row - 1] : 0, end = this.ends[row];
    if (begin === end) return null;
    if (!this.addresses.has(row)) {
      this.addresses.set(row, URL.createObjectURL(new Blob([this.content.subarray(begin, end)], { type: "image/webp" })));
    }
    return this.addresses.get(row);
  }
}
