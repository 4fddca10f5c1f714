// The greedy rule over stored pairs, as dedup/passes.py and dedup/decision.py have it. Ranks are places in keep order.

const MOST_PASSES = 24;
const BELOW_ALL = -1.001;
const BINS = 1024;

function halfToEven(value) {
  const low = Math.floor(value), over = value - low;
  if (over !== 0.5) return Math.round(value);
  return low % 2 === 0 ? low : low + 1;
}

// A threshold as the cosines are: the nearest multiple of 2^-24.
function roundedCosine(value) {
  return Math.fround(halfToEven(value * 2 ** 24) * 2 ** -24);
}

function clipped(value, low, high) {
  return Math.min(high, Math.max(low, value));
}

class Graph {
  // order, starts, later, cosine: explore/edges.py. stay: the sampled curve, or null. rows: of the pool. fewest: rows
  // that a second step draws, at least; null of a first step.
  constructor({ order, starts, later, cosine, stay, floor, groups, rows, fewest = null }) {
    Object.assign(this, { order, starts, later, cosine, stay, floor, groups, rows, fewest, total: order.length });
  }

  // In keep order, a row goes if a row that stays is above eta. Stops once more than `limit` stay.
  greedy(eta, limit = Infinity) {
    const least = roundedCosine(eta), { starts, later, cosine, total } = this;
    if (least < roundedCosine(this.floor)) throw new RangeError("below the floor");
    const kept = new Uint8Array(total).fill(1);
    let count = 0;
    for (let rank = 0; rank < total; rank++) {
      if (!kept[rank]) continue;
      count++;
      if (count > limit) {
        kept.fill(0, rank + 1);
        return { kept, count, complete: false, share: (rank + 1) / total };
      }
      for (let at = starts[rank]; at < starts[rank + 1]; at++) if (cosine[at] > least) kept[later[at]] = 0;
    }
    return { kept, count, complete: true, share: 1 };
  }

  // Of each rank that goes: the kept one of greatest cosine, equal ones by keep order; -1 and -2 where none is known.
  nearestKept(kept) {
    const { starts, later, cosine, total } = this;
    const where = new Int32Array(total).fill(-1), similarity = new Float32Array(total).fill(-2);
    for (let rank = 0; rank < total; rank++) {
      for (let at = starts[rank]; at < starts[rank + 1]; at++) {
        const other = later[at];
        if (kept[rank] === kept[other]) continue;
        const stays = kept[rank] ? rank : other, goes = kept[rank] ? other : rank;
        if (cosine[at] > similarity[goes] || (cosine[at] === similarity[goes] && stays < where[goes])) {
          where[goes] = stays;
          similarity[goes] = cosine[at];
        }
      }
    }
    return { where, similarity };
  }

  atEta(eta) {
    const { kept } = this.greedy(eta);
    return this.decision(kept, eta);
  }

  // round(retention * rows) rows exactly.
  atRetention(retention) {
    const target = halfToEven(retention * this.rows);
    const refusal = this.refusal(target);
    if (refusal) throw new Error(refusal);
    const [eta, done] = this.largestEta(target), kept = done.kept.slice();
    const free = target - done.count;
    if (free > 0) {
      const { similarity } = this.nearestKept(kept), dropped = [];
      for (let rank = 0; rank < this.total; rank++) if (!kept[rank]) dropped.push(rank);
      dropped.sort((a, b) => similarity[a] - similarity[b]);
      for (const rank of dropped.slice(0, free)) kept[rank] = 1;
    }
    return this.decision(kept, eta);
  }

  // Why so many rows cannot be told; null where they can.
  refusal(target) {
    const { rows, total, groups, fewest } = this, words = (number) => number.toLocaleString("en");
    if (target < 1) return "that is no frame at all";
    if (fewest !== null && (target < fewest || target > total)) {
      const [low, high] = [Math.ceil((10000 * fewest) / rows) / 100, Math.floor((10000 * total) / rows) / 100];
      return `the stored pairs tell what ${words(fewest)} to ${words(total)} frames would be (${low} to ${high} %); for others, select again from the embeddings`;
    }
    if (target > total) return `${words(target)} frames are more than the ${words(total)} that may stay`;
    if (target < groups) return `${words(target)} frames are fewer than the ${words(groups)} clusters, each of which keeps one`;
    return null;
  }

  largestEta(target) {
    if (target >= this.total) return [1, this.greedy(1)];
    const tolerance = Math.floor(target / 100), aim = Math.log(target - tolerance / 2);
    let low = BELOW_ALL, high = 1, above = Math.log(this.total) - aim, below = -aim;
    let best = null, eta = this.etaFor(target), step = 0.02, lastSide = 0;
    for (let pass = 0; pass < MOST_PASSES; pass++) {
      const done = this.greedy(eta, target + Math.floor(target / 4));
      let side;
      if (done.count <= target) {
        [best, low, below, side] = [done, eta, Math.log(done.count) - aim, -1];
      } else {
        [high, above, side] = [eta, Math.log(this.foreseen(done, best)) - aim, 1];
      }
      if (high - low < 1e-6 || (best !== null && target - best.count <= tolerance)) break;
      if (low > BELOW_ALL && high < 1) {
        if (side === lastSide) {
          if (side < 0) above /= 2;
          else below /= 2;
        }
        eta = low + (high - low) * clipped(below / (below - above), 0.02, 0.98);
      } else {
        const guess = this.etaFor(this.staying(eta) * Math.exp(side < 0 ? -below : -above));
        const [near, far] = [eta - (side * step) / 4, eta - side * step].sort((a, b) => a - b);
        eta = clipped(clipped(guess, near, far), low + (high - low) / 20, high - (high - low) / 20);
        step *= 2;
      }
      lastSide = side;
    }
    return best === null ? [BELOW_ALL, this.greedy(BELOW_ALL)] : [low, best];
  }

  foreseen(stopped, complete) {
    if (stopped.complete || complete === null) return stopped.count / stopped.share;
    let seen = 0;
    const until = halfToEven(stopped.share * this.total);
    for (let rank = 0; rank < until; rank++) seen += complete.kept[rank];
    return (stopped.count * complete.count) / Math.max(1, seen);
  }

  etaFor(kept) {
    let place = 0;
    while (place < this.stay.length && this.stay[place] <= kept) place++;
    return -1 + Math.max(0, place - 1) * (2 / BINS);
  }

  staying(eta) {
    return this.stay[Math.ceil((clipped(eta, -1, 1) + 1) * (BINS / 2))];
  }

  // Over the rows of the pool: kept (1), goes (0), in no group (2); for whom a row goes, -1 where nobody is known.
  decision(keptRanks, eta) {
    const { where, similarity: near } = this.nearestKept(keptRanks);
    const kept = new Uint8Array(this.rows).fill(2), of = new Int32Array(this.rows).fill(-1);
    const similarity = new Float32Array(this.rows);
    for (let rank = 0; rank < this.total; rank++) {
      const row = this.order[rank];
      kept[row] = keptRanks[rank];
      if (where[rank] >= 0) [of[row], similarity[row]] = [this.order[where[rank]], near[rank]];
    }
    return { eta, kept, of, similarity };
  }
}
