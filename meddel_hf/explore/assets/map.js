// The map of the pool: points set pixel by pixel, which needs no graphics card and takes a million of them.

const CELLS = 256; // of the grid, along each axis, in which a pointer looks for the nearest point
const NOWHERE = 65535;
const REACH = 14; // pixels
const CROWD = 30000; // points in view from which they hide one another
const LEAST_INK = 0.4; // of a pixel with a single point

function rgba(hex) {
  const value = parseInt(hex.slice(1), 16);
  return (255 << 24) | ((value & 255) << 16) | (value & 0xff00) | (value >> 16);
}

class PlaneMap {
  // x, y: steps of 0 to 65,534. onHover(row or -1, event), onPick(row), onLasso(mask or null, count).
  constructor(canvas, { x, y }, { onHover, onPick, onLasso }) {
    Object.assign(this, { canvas, x, y, onHover, onPick, onLasso });
    this.context = canvas.getContext("2d");
    this.colors = null; // of each row, as pixels; 0: not drawn
    this.front = null; // rows that are drawn last, and larger
    this.view = { scale: 1, left: 0, top: 0 };
    this.path = null;
    this.lassoing = false;
    this.hovered = -1;
    this.index();
    new ResizeObserver(() => this.draw()).observe(canvas);
    this.listen();
  }

  index() {
    const { x, y } = this, starts = new Uint32Array(CELLS * CELLS + 1), last = [1, 1], cell = new Int32Array(x.length).fill(-1);
    for (let row = 0; row < x.length; row++) {
      if (x[row] === NOWHERE) continue;
      [last[0], last[1]] = [Math.max(last[0], x[row]), Math.max(last[1], y[row])];
      cell[row] = (y[row] >> 8) * CELLS + (x[row] >> 8);
      starts[cell[row] + 1]++;
    }
    for (let at = 0; at < CELLS * CELLS; at++) starts[at + 1] += starts[at];
    const next = starts.slice(), rows = new Uint32Array(starts[CELLS * CELLS]);
    for (let row = 0; row < x.length; row++) if (cell[row] >= 0) rows[next[cell[row]]++] = row;
    this.cells = { starts, rows };
    this.last = last; // steps that are used, along both axes
  }

  // Pixels of the canvas, of a place in steps.
  get frame() {
    const { width, height } = this.canvas, ratio = width / Math.max(1, this.canvas.clientWidth);
    const margin = 14 * ratio, [wide, high] = this.last;
    const fits = Math.min((width - 2 * margin) / wide, (height - 2 * margin) / high), { view } = this;
    return {
      ratio,
      scale: fits * view.scale,
      left: (width - fits * wide) / 2 + view.left * ratio,
      top: (height - fits * high) / 2 + view.top * ratio,
    };
  }

  color(colors, front) {
    this.colors = colors;
    this.front = front;
    this.draw();
  }

  draw() {
    if (this.waiting || !this.colors) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.paint();
    });
  }

  paint() {
    const { canvas, context, x } = this, ratio = Math.min(2, devicePixelRatio || 1);
    const width = Math.round(canvas.clientWidth * ratio), height = Math.round(canvas.clientHeight * ratio);
    if (!width || !height) return;
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    const { scale, left, top } = this.frame, image = context.createImageData(width, height);
    const pixels = new Uint32Array(image.data.buffer);
    const crowd = x.length / this.view.scale ** 2;
    const radius = Math.max(1, Math.round((crowd > 200000 ? 0.5 : crowd > CROWD ? 1 : crowd > 4000 ? 1.6 : 2.4) * ratio));
    if (crowd > CROWD) this.blend(pixels, width, height, { scale, left, top, radius });
    else this.stack(pixels, width, height, { scale, left, top, radius, ratio });
    context.putImageData(image, 0, 0);
    if (this.hovered >= 0) this.ring(this.hovered, radius + 4 * ratio);
    if (this.path) this.outline();
  }

  // One over another, what is in front last.
  stack(pixels, width, height, { scale, left, top, radius, ratio }) {
    const { canvas, x, y, colors, front } = this;
    const put = (row, size, color) => {
      const px = Math.round(left + x[row] * scale), py = Math.round(top + y[row] * scale);
      if (px < -size || py < -size || px >= width + size || py >= height + size) return;
      for (let dy = -size; dy <= size; dy++) {
        const line = py + dy;
        if (line < 0 || line >= height) continue;
        const half = Math.floor(Math.sqrt(size * size + size * 0.8 - dy * dy));
        const from = Math.max(0, px - half), to = Math.min(width - 1, px + half);
        if (from <= to) pixels.fill(color, line * width + from, line * width + to + 1);
      }
    };
    for (let row = 0; row < x.length; row++) if (colors[row] && !front?.[row] && x[row] !== NOWHERE) put(row, radius, colors[row]);
    if (front) {
      const edge = rgba(getComputedStyle(canvas).getPropertyValue("--paper").trim());
      const outlined = x.length <= 50000;
      for (let row = 0; row < x.length; row++) {
        if (!colors[row] || !front[row] || x[row] === NOWHERE) continue;
        if (outlined) put(row, radius + Math.ceil(ratio) + 1, edge);
        put(row, radius + Math.round(ratio), colors[row]);
      }
    }
  }

  // So many that they hide one another: each pixel has the mean colour of its points, the fuller the more there are.
  blend(pixels, width, height, { scale, left, top, radius }) {
    const { x, y, colors } = this, size = width * height;
    const [red, green, blue, count] = [0, 1, 2, 3].map(() => new Float32Array(size));
    let most = 1;
    for (let row = 0; row < x.length; row++) {
      const color = colors[row];
      if (!color || x[row] === NOWHERE) continue;
      const px = Math.round(left + x[row] * scale), py = Math.round(top + y[row] * scale);
      const r = color & 255, g = (color >> 8) & 255, b = (color >> 16) & 255;
      for (let dy = -radius; dy <= radius; dy++) {
        const line = py + dy;
        if (line < 0 || line >= height) continue;
        const half = Math.floor(Math.sqrt(radius * radius + radius * 0.8 - dy * dy));
        for (let at = line * width + Math.max(0, px - half); at <= line * width + Math.min(width - 1, px + half); at++) {
          red[at] += r;
          green[at] += g;
          blue[at] += b;
          if (++count[at] > most) most = count[at];
        }
      }
    }
    const whole = Math.log1p(most);
    for (let at = 0; at < size; at++) {
      if (!count[at]) continue;
      const alpha = Math.round(255 * (LEAST_INK + ((1 - LEAST_INK) * Math.log1p(count[at])) / whole));
      pixels[at] = (alpha << 24) | (Math.round(blue[at] / count[at]) << 16) | (Math.round(green[at] / count[at]) << 8) | Math.round(red[at] / count[at]);
    }
  }

  ring(row, size) {
    const { scale, left, top, ratio } = this.frame, { context } = this;
    context.lineWidth = 2 * ratio;
    context.strokeStyle = getComputedStyle(this.canvas).color;
    context.beginPath();
    context.arc(left + this.x[row] * scale, top + this.y[row] * scale, size, 0, 2 * Math.PI);
    context.stroke();
  }

  outline() {
    const { context } = this, { ratio, scale, left, top } = this.frame;
    context.beginPath();
    for (const [px, py] of this.path) context.lineTo(left + px * scale, top + py * scale);
    context.closePath();
    context.lineWidth = 1.5 * ratio;
    context.strokeStyle = getComputedStyle(this.canvas).color;
    context.setLineDash([5 * ratio, 4 * ratio]);
    context.stroke();
    context.setLineDash([]);
  }

  // A place in steps, of a pointer.
  place(event) {
    const box = this.canvas.getBoundingClientRect(), { ratio, scale, left, top } = this.frame;
    return [((event.clientX - box.left) * ratio - left) / scale, ((event.clientY - box.top) * ratio - top) / scale];
  }

  // The drawn row nearest to a place, or -1.
  nearest([px, py]) {
    const { ratio, scale } = this.frame, reach = (REACH * ratio) / scale;
    const cell = (value) => clipped(Math.floor(value / 256), 0, CELLS - 1);
    let best = -1, least = reach * reach;
    for (let cy = cell(py - reach); cy <= cell(py + reach); cy++) {
      for (let at = this.cells.starts[cy * CELLS + cell(px - reach)]; at < this.cells.starts[cy * CELLS + cell(px + reach) + 1]; at++) {
        const row = this.cells.rows[at], dx = this.x[row] - px, dy = this.y[row] - py;
        const far = (dx * dx + dy * dy) * (this.front?.[row] ? 0.5 : 1); // kept rows lie on top
        if (this.colors?.[row] && far < least) [best, least] = [row, far];
      }
    }
    return best;
  }

  inside(path) {
    const mask = new Uint8Array(this.x.length);
    let [low, high, first, last] = [Infinity, -Infinity, Infinity, -Infinity], count = 0;
    for (const [px, py] of path) {
      [low, high] = [Math.min(low, px), Math.max(high, px)];
      [first, last] = [Math.min(first, py), Math.max(last, py)];
    }
    for (let row = 0; row < this.x.length; row++) {
      const px = this.x[row], py = this.y[row];
      if (px === NOWHERE || !this.colors[row] || px < low || px > high || py < first || py > last) continue;
      let within = false;
      for (let at = 0, before = path.length - 1; at < path.length; before = at++) {
        const [ax, ay] = path[at], [bx, by] = path[before];
        if (ay > py !== by > py && px < ((bx - ax) * (py - ay)) / (by - ay) + ax) within = !within;
      }
      if (within) {
        mask[row] = 1;
        count++;
      }
    }
    return { mask, count };
  }

  zoom(factor, [px, py]) {
    const before = this.frame, scale = clipped(this.view.scale * factor, 1, 400), ratio = before.ratio;
    const change = before.scale * (scale / this.view.scale) - before.scale;
    this.view.scale = scale;
    this.view.left -= (px * change) / ratio;
    this.view.top -= (py * change) / ratio;
    if (scale === 1) this.view.left = this.view.top = 0;
    this.draw();
  }

  clearLasso() {
    this.path = null;
    this.onLasso(null, 0);
    this.draw();
  }

  listen() {
    const { canvas } = this, pointers = new Map();
    let dragged = false, apart = 0, drawing = false, before = null;
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom(Math.exp(-event.deltaY * 0.0015), this.place(event));
    }, { passive: false });
    canvas.addEventListener("dblclick", (event) => this.zoom(2, this.place(event)));
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      pointers.set(event.pointerId, event);
      dragged = false;
      if (pointers.size === 1 && (this.lassoing || event.shiftKey)) {
        [drawing, before, this.path] = [true, this.path, [this.place(event)]];
      } else if (drawing) {
        [drawing, this.path] = [false, before]; // two fingers zoom
      }
      apart = 0;
    });
    canvas.addEventListener("pointermove", (event) => {
      const last = pointers.get(event.pointerId);
      if (!last) {
        const row = this.nearest(this.place(event));
        if (row !== this.hovered) {
          this.hovered = row;
          this.draw();
        }
        this.onHover(row, event);
        return;
      }
      const [dx, dy] = [event.clientX - last.clientX, event.clientY - last.clientY];
      if (!dragged && Math.hypot(dx, dy) < 4) return;
      dragged = true;
      pointers.set(event.pointerId, event);
      this.onHover(-1, event);
      if (pointers.size === 2) {
        const [a, b] = [...pointers.values()], wide = Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY);
        if (apart) this.zoom(wide / apart, this.place({ clientX: (a.clientX + b.clientX) / 2, clientY: (a.clientY + b.clientY) / 2 }));
        apart = wide;
      } else if (drawing) {
        this.path.push(this.place(event));
      } else {
        this.view.left += dx;
        this.view.top += dy;
      }
      this.draw();
    });
    const ended = (event) => {
      if (!pointers.delete(event.pointerId)) return;
      if (drawing && this.path.length > 2) {
        const { mask, count } = this.inside(this.path);
        this.onLasso(mask, count);
      } else {
        if (drawing) this.path = before;
        const row = !dragged && event.type === "pointerup" ? this.nearest(this.place(event)) : -1;
        if (row >= 0) this.onPick(row);
      }
      drawing = false;
      this.draw();
    };
    canvas.addEventListener("pointerup", ended);
    canvas.addEventListener("pointercancel", ended);
    canvas.addEventListener("pointerleave", (event) => {
      if (this.hovered >= 0) {
        this.hovered = -1;
        this.draw();
      }
      this.onHover(-1, event);
    });
  }
}
