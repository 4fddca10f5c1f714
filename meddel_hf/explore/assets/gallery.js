// Frames in groups and in lists, a screen at a time.

const AT_ONCE = 48; // cards that are made before one scrolls on
const MEMBERS = 11, MORE = 100; // of a group at first, and at each "more"

// An element with properties, and with texts and elements inside: texts from the data can be nothing else.
function make(tag, properties = {}, ...inside) {
  const { data, ...others } = properties, element = Object.assign(document.createElement(tag), others);
  Object.assign(element.dataset, data);
  element.append(...inside.filter((each) => each !== null && each !== undefined));
  return element;
}

// New elements in a place; a button of the same name has the focus again, where one had it.
function replaced(place, ...fresh) {
  const name = place.contains(document.activeElement) ? document.activeElement.name : "";
  place.replaceChildren(...fresh);
  if (name) [...place.querySelectorAll("button")].find((button) => button.name === name)?.focus();
}

class Gallery {
  constructor(page, place) {
    this.page = page;
    this.place = place;
    this.observer = new IntersectionObserver((entries) => entries.some((entry) => entry.isIntersecting) && this.more(), {
      rootMargin: "600px",
    });
  }

  // cards: how many. card(number): the element of one.
  // Whoever is at a frame of one stays at it, where it is among those that are made at once.
  show(cards, card, empty) {
    const at = this.place.contains(document.activeElement) ? document.activeElement.dataset.row : undefined;
    this.observer.disconnect();
    this.place.replaceChildren();
    Object.assign(this, { cards, card, made: 0 });
    if (!cards) this.place.append(make("p", { className: "empty" }, empty));
    this.end = make("div", { className: "end" });
    this.place.append(this.end);
    this.more();
    this.observer.observe(this.end);
    if (at !== undefined) this.place.querySelector(`.frame[data-row="${at}"]`)?.focus({ preventScroll: true });
  }

  more() {
    const until = Math.min(this.cards, this.made + AT_ONCE), fresh = [];
    for (; this.made < until; this.made++) fresh.push(this.card(this.made));
    this.end.before(...fresh);
    if (this.made === this.cards) this.observer.disconnect();
    else if (fresh.length) {
      this.observer.unobserve(this.end);
      this.observer.observe(this.end);
    }
  }

  picture(row, className = "") {
    const address = this.page.pictures.of(row);
    if (address === null) return make("span", { className: `none ${className}` }, "no picture");
    const image = make("img", { className, alt: "", loading: "lazy", decoding: "async" });
    image.addEventListener("error", () => image.replaceWith(make("span", { className: `none ${className}` }, "no picture")));
    image.src = address;
    return image;
  }

  frame(row, words) {
    const { pool, marks } = this.page, id = pool.id(row), state = pool.now.state[row];
    const mark = marks.get(row), end = printable(id);
    const button = make(
      "button",
      { type: "button", className: `frame s${state} ${mark ? `m-${mark}` : ""}`, title: end, data: { row } },
      this.picture(row),
      make("span", { className: "words" }, words),
      make("span", { className: "id" }, make("bdi", {}, end)),
    );
    button.setAttribute("aria-label", `${end}, ${STATE_WORDS[state]}, ${words}`);
    return button;
  }

  group({ leader, members }) {
    const { pool } = this.page, kept = pool.now.state[leader] === KEPT;
    const others = `stands for ${grouped(members.length)}`;
    const place = make("div", { className: "members" });
    const more = make("button", { type: "button", className: "more" });
    const show = (until) => {
      for (const row of members.slice(place.children.length, until)) {
        place.append(this.frame(row, `cosine ${pool.now.similarity[row].toFixed(4)}`));
      }
      more.textContent = `${grouped(members.length - place.children.length)} more`;
      more.hidden = place.children.length === members.length;
    };
    show(MEMBERS);
    more.addEventListener("click", () => show(place.children.length + MORE));
    const head = this.frame(leader, kept ? `kept, ${others}` : `not selected, ${others}`);
    head.classList.add("leader");
    return make("div", { className: "group" }, head, place, more);
  }
}
