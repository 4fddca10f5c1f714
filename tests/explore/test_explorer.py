"""The page in a real browser: what it answers, shows and lets through, against what Python says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import oracle
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, DatasetDict, Image, load_dataset
from PIL import Image as Pictures
from stores import IDS, stored
from tiny import tiny_encoder

from meddel_hf import Dedup, MedDEL, Selection, embed
from meddel_hf.embedding.store import EmbeddingStore, Shard, StoreWriter
from meddel_hf.errors import InvalidArgument, InvalidDataset, Mismatch
from meddel_hf.explore import explorer
from meddel_hf.explore.plane import Plane
from meddel_hf.selectors import Random
from meddel_hf.selectors.by_hand import Overrides

ROWS = 240
HOSTILE = '<img src=x onerror="window.hacked=1">\'"</script><script>window.hacked=2</script>&amp;/é\u202e'
CENTERS = ["c1", HOSTILE, "c3"]


def colour(row: int) -> tuple[int, int, int]:
    return (row * 7 % 256, row * 31 % 256, 40 + row % 200)


@pytest.fixture(scope="module")
def pool(tmp_path_factory) -> Dataset:
    """Frames of one colour each, whose ids and centres are as bad as text can be."""
    ids = [f"patient {row % 9}/{row:03d}" for row in range(ROWS)]
    ids[5], ids[6], ids[7] = HOSTILE, "  ", "line\nbreak"
    folder = tmp_path_factory.mktemp("frames")
    paths = []
    for row in range(ROWS):
        paths.append(str(folder / f"{row}.png"))
        Pictures.new("RGB", (40, 30), colour(row)).save(paths[-1])
    (folder / "9.png").write_bytes(b"no picture")
    columns = {"id": ids, "center": [CENTERS[row % 3] if row % 7 else None for row in range(ROWS)], "image": paths}
    return Dataset.from_dict(columns).cast_column("image", Image(decode=False))


@pytest.fixture(scope="module")
def store(tmp_path_factory, pool) -> EmbeddingStore:
    """Embeddings in clumps; two rows have none."""
    x = oracle.clumps(ROWS, 16, seed=4, spread=0.25).astype(np.float32)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    reasons = [{9: "damaged", 100: "truncated"}.get(row) for row in range(ROWS)]
    readable = [row for row in range(ROWS) if reasons[row] is None]
    writer = StoreWriter.begin(
        tmp_path_factory.mktemp("store") / "s",
        {"encoder": "a/b", "pool": None, "revision": None},
        {"pool": pool._fingerprint},
    )
    writer.write(Shard(0, 0, pool["id"][:], reasons, x[readable]))
    return writer.finish(dim=16, row_ids=False)


def opened(browser, selection: Selection, tmp_path: Path, pool=None, store=None) -> Path:
    path = selection.explore(pool, embeddings=store, title="A </title> & title").save(tmp_path / "page.html")
    browser.messages()
    browser.open(path)
    return path


def moved(browser, asked: dict) -> dict:
    """What the page holds after its threshold was moved."""
    return browser.wait(
        "await window.meddel.move(arguments[0]);"
        "const { now } = window.meddel.pool;"
        "const { state, of, similarity, eta, moved } = now;"
        "return { state: [...state], of: [...of], similarity: [...similarity], eta, moved };",
        asked,
    )


def words(selection: Selection) -> list[str]:
    return [selection.why(id) for id in selection.ids]


def agrees(answer: dict, selection: Selection) -> None:
    table = selection.table
    states = ["kept", "near-duplicate", "not-selected", "outlier", "in-reference", "unreadable", "set-aside"]
    assert [states[state] for state in answer["state"]] == table["reason"].fill_null("kept").to_pylist()
    of = [None if row < 0 else selection.ids[row] for row in answer["of"]]
    gone = pc.equal(table["reason"], "near-duplicate").fill_null(False).to_pylist()
    assert [name for name, near in zip(of, gone, strict=True) if near] == [
        name for name, near in zip(table["duplicate_of"].to_pylist(), gone, strict=True) if near
    ]
    mine = np.array(answer["similarity"], np.float32)[gone]
    assert np.array_equal(mine, table["similarity"].to_numpy()[gone])


def test_the_sliders_answer_what_python_answers(browser, pool, store, tmp_path):
    selection = MedDEL(0.3, scope="pool", epsilon=None, engine="pairs").select(store)
    opened(browser, selection, tmp_path, pool, store)
    floor = selection.graph.floor
    for eta in [floor, *np.linspace(floor, 1, 17)[1:]]:
        answer = moved(browser, {"ask": "eta", "eta": float(eta)})
        assert answer["moved"]
        assert answer["eta"] == eta
        agrees(answer, selection.at(eta=float(eta)))
    for retention in (0.05, 0.1, 0.217, 0.3, 0.5, 0.77, 0.9):
        try:
            expected = selection.at(retention=retention)
        except InvalidArgument:  # so few that pairs below the floor would decide
            answer = moved(browser, {"ask": "retention", "retention": retention})
            assert "not stored here" in browser.js("return document.getElementById('moved').textContent")
            continue
        answer = moved(browser, {"ask": "retention", "retention": retention})
        agrees(answer, expected)
        assert sum(state == 0 for state in answer["state"]) == round(retention * ROWS)


def test_what_would_be_drawn_at_another_retention_is_what_python_and_a_new_selection_draw(browser, store, tmp_path):
    selection = Dedup(0.2, eta=0.95).select(store)
    assert selection.second is not None
    opened(browser, selection, tmp_path)
    assert browser.js("return document.getElementById('keep-row').hidden") is False
    fewest, most = selection.second.fewest, selection.second.most
    for count in (fewest, fewest + 1, (fewest + most) // 2, most - 1, most):
        answer = moved(browser, {"ask": "draw", "retention": count / ROWS})
        agrees(answer, selection.at(retention=count / ROWS))
        anew = Dedup(count / ROWS, eta=0.95).select(store)
        assert [row for row, state in enumerate(answer["state"]) if state == 0] == [
            row for row, kept in enumerate(anew.table["kept"].to_pylist()) if kept
        ]
        assert answer["eta"] == selection.eta
        command = browser.js("return document.getElementById('command').textContent")
        assert round(float(command.split("--retention ")[1]) * ROWS) == count
    said = browser.js("const { pool } = window.meddel; return [...pool.now.state.keys()].map((row) => pool.why(row))")
    assert said == words(selection.at(retention=most / ROWS))
    for count in (fewest - 1, most + 1):
        moved(browser, {"ask": "draw", "retention": count / ROWS})
        low, high = np.ceil(1e4 * fewest / ROWS) / 100, np.floor(1e4 * most / ROWS) / 100
        assert browser.js("return document.getElementById('moved').textContent") == (
            f"Not known here: the stored pairs tell what {fewest} to {most} frames would be ({low:g} to {high:g} %); "
            "for others, select again from the embeddings."
        )
        with pytest.raises(InvalidArgument, match=f"the stored pairs tell what {fewest} to {most} would be"):
            selection.at(retention=count / ROWS)
        assert Dedup(count / ROWS, eta=0.95).select(store).table["kept"].to_numpy().sum() == count
    moved(browser, {"ask": "eta", "eta": 0.97})
    assert "first step alone" in browser.js("return document.getElementById('moved').textContent")


def test_a_share_that_is_not_known_is_told_and_taken_back(browser, store, tmp_path):
    drawn = Dedup(0.2, eta=0.95).select(store)
    clusters = MedDEL(eta=0.95, epsilon=0.9, n_clusters=6).select(store)
    there = sum(map(len, clusters.graph.groups))
    for selection, typed, words in (
        (drawn, "95", "for others, select again from the embeddings"),
        (clusters, "95", f"228 frames are more than the {there} that may stay"),
        (clusters, "1", "2 frames are fewer than the 6 clusters, each of which keeps one"),
    ):
        opened(browser, selection, tmp_path)
        field, said = (browser.driver.find_element("id", name) for name in ("keep-number", "moved"))
        own = field.get_attribute("value")
        assert float(own) == pytest.approx(100 * selection.table["kept"].to_numpy().mean(), abs=0.005)
        before = said.text
        field.clear()
        field.send_keys(typed)
        browser.until(lambda said=said, words=words: words in said.text)
        assert browser.js("return window.meddel.pool.now.moved") is False
        browser.driver.find_element("id", "reset").click()
        assert (field.get_attribute("value"), said.text) == (own, before)
        assert browser.driver.find_element("id", "reset").is_enabled() is False


def test_clusters_and_outliers_stay_what_they_are_when_the_threshold_moves(browser, store, tmp_path):
    selection = MedDEL(0.3, epsilon=0.9, engine="pairs", n_clusters=6).select(store)
    assert selection.summary.outliers
    assert selection.summary.unreadable
    opened(browser, selection, tmp_path)
    for eta in (0.9, 0.97):
        agrees(moved(browser, {"ask": "eta", "eta": eta}), selection.at(eta=eta))


@pytest.mark.parametrize(
    "selector",
    [MedDEL(0.3, epsilon=0.9, n_clusters=6), Dedup(0.2, eta=0.95, then="random"), Dedup(eta=0.9), Random(0.2)],
    ids=["meddel", "two steps", "near-duplicates alone", "random"],
)
def test_every_row_is_explained_in_the_words_of_why(browser, store, tmp_path, selector):
    selection = selector.select(store)
    opened(browser, selection, tmp_path)
    said = browser.js("const { pool } = window.meddel; return [...pool.base.state.keys()].map((row) => pool.why(row))")
    assert said == words(selection)


def test_text_from_the_data_runs_nothing_and_asks_nobody(browser, pool, store, tmp_path):
    selection = Dedup(0.3, eta=0.95, then="random").select(store)
    path = opened(browser, selection, tmp_path, pool, store)
    assert browser.js("return document.title") == "A </title> & title"
    row = selection.ids.index(HOSTILE)
    browser.js("window.meddel.open(arguments[0])", row)
    assert browser.js("return document.querySelector('#detail .whole-id').textContent") == HOSTILE
    browser.js("document.getElementById('detail').close()")
    browser.js(
        "const color = document.getElementById('color'); color.value = '0'; color.dispatchEvent(new Event('change'))"
    )
    assert HOSTILE in browser.js("return [...document.querySelectorAll('#bars button')].map((each) => each.title)")
    for tab in browser.js("return [...document.querySelectorAll('#tabs button')].map((each) => each.dataset.tab)"):
        browser.js("document.querySelector(`#tabs [data-tab=${arguments[0]}]`).click()", tab)
    assert browser.js("return window.hacked ?? null") is None
    asked = browser.js("return performance.getEntriesByType('resource').map((each) => each.name)")
    assert all(name.startswith(("blob:", "data:")) for name in asked)
    assert browser.messages() == []  # nothing was refused either
    # And were a script smuggled in, it would not run.
    browser.js(
        "const s = document.createElement('script'); s.textContent = 'window.hacked = 3'; document.body.append(s)"
    )
    assert browser.js("return window.hacked ?? null") is None
    assert any("Content Security Policy" in message for message in browser.messages())
    refused = browser.wait("try { await fetch('http://127.0.0.1:9/'); return 'sent' } catch { return 'refused' }")
    assert refused == "refused"
    assert any("connect" in message for message in browser.messages())
    assert HOSTILE not in path.read_text(encoding="utf-8")


def test_hover_shows_the_frame_under_the_pointer(browser, pool, store, tmp_path):
    selection = Dedup(0.3, eta=0.95, then="random").select(store)
    opened(browser, selection, tmp_path, pool, store)
    plane = Plane.of(store)
    for row in (3, 50, 111, 239):
        # The place of the row on the screen, as the page draws it; alone there, so that it must be the nearest.
        browser.js(
            "const { map } = window.meddel, canvas = document.getElementById('map'), row = arguments[0];"
            "canvas.scrollIntoView(); map.view = { scale: 1, left: 0, top: 0 }; map.paint();"
            "map.zoom(60, [map.x[row], map.y[row]]); map.paint();"
            "const { ratio, scale, left, top } = map.frame, box = canvas.getBoundingClientRect();"
            "const event = (type) => new PointerEvent(type, { pointerId: 1, bubbles: true,"
            " clientX: box.left + (left + map.x[row] * scale) / ratio,"
            " clientY: box.top + (top + map.y[row] * scale) / ratio });"
            "canvas.dispatchEvent(event('pointermove'));",
            row,
        )
        text = browser.js("return document.getElementById('tip').textContent")
        assert selection.ids[row] in text
        seen = browser.wait(
            "const image = document.querySelector('#tip img'); await image.decode();"
            "const canvas = new OffscreenCanvas(9, 9), c = canvas.getContext('2d'); c.drawImage(image, 0, 0, 9, 9);"
            "return [...c.getImageData(4, 4, 1, 1).data]"
        )
        assert np.abs(np.array(seen[:3]) - colour(row)).max() < 12  # WebP is lossy
    assert np.isnan(plane.x[[9, 100]]).all()
    assert np.isfinite(np.delete(plane.x, [9, 100])).all()


def test_a_lasso_filters_the_frames_inside_it(browser, pool, store, tmp_path):
    selection = Dedup(0.3, eta=0.95, then="random").select(store)
    opened(browser, selection, tmp_path, pool, store)
    x, y = (axis.astype(np.float64) for axis in Plane.of(store).in_steps())
    there = x < 65_535
    low, high = np.quantile(x[there], 0.2), np.quantile(x[there], 0.6)
    inside = there & (x > low) & (x < high) & (y > -1) & (y < 40_000)
    path = [[low, -1], [high, -1], [high, 40_000], [low, 40_000]]
    browser.js(
        "const { map } = window.meddel; map.path = arguments[0];"
        "const { mask, count } = map.inside(map.path); map.onLasso(mask, count);"
        "document.querySelector('#tabs [data-tab=all]').click()",
        path,
    )
    assert browser.js("return window.meddel.filters.lasso.count") == inside.sum() > 10
    shown = browser.js("return [...document.querySelectorAll('#cards .frame')].map((each) => Number(each.dataset.row))")
    assert shown == np.flatnonzero(inside)[: len(shown)].tolist()
    assert len(shown) >= min(48, inside.sum())


def test_a_search_finds_parts_of_ids(browser, pool, store, tmp_path):
    selection = Random(0.5).select(store)
    opened(browser, selection, tmp_path, pool, store)
    for text in ("PATIENT 3/", "é", "/script", "no such id"):
        answer = browser.js(
            "const { mask, count } = window.meddel.pool.search(arguments[0]); return [[...mask], count]", text
        )
        expected = [text.lower() in id.lower() for id in selection.ids]
        assert answer == [[int(each) for each in expected], sum(expected)]


def test_marks_are_saved_as_a_table_that_select_heeds(browser, pool, store, tmp_path):
    selection = Dedup(0.3, eta=0.95, then="random").select(store)
    opened(browser, selection, tmp_path, pool, store)
    browser.js("localStorage.clear()")
    kept, gone = selection.ids.index(HOSTILE), 20
    browser.js(
        "const { meddel } = window; meddel.marks.clear();"
        "meddel.mark(arguments[0], 'keep'); meddel.mark(arguments[1], 'never')",
        kept,
        gone,
    )
    browser.open(tmp_path / "page.html")  # marks are remembered
    browser.js("document.getElementById('save').click()")
    path = browser.downloads / "overrides.parquet"
    browser.until(path.is_file)
    assert pq.read_table(path).to_pylist() == [
        {"id": HOSTILE, "mark": "keep"},
        {"id": selection.ids[gone], "mark": "never"},
    ]
    assert Overrides.read(path) == Overrides({HOSTILE}, {selection.ids[gone]})
    path.unlink()
    browser.js("localStorage.clear()")
    after = Dedup(0.3, eta=0.95, then="random").select(store, overrides=Overrides({HOSTILE}, {selection.ids[gone]}))
    opened(browser, after, tmp_path, pool, store)
    assert browser.js("return [...window.meddel.marks]") == [[kept, "keep"], [gone, "never"]]
    said = browser.js("return arguments[0].map((row) => window.meddel.pool.why(row))", [20, 33])
    assert said == [after.why(after.ids[20]), after.why(after.ids[33])]


def test_all_frames_that_pass_the_filters_are_marked_at_once_and_unmarked_again(browser, pool, store, tmp_path):
    selection = Dedup(0.3, eta=0.95, then="random").select(store)
    opened(browser, selection, tmp_path, pool, store)
    browser.js("localStorage.clear(); window.meddel.marks.clear(); window.meddel.mark(0, 'keep')")
    assert browser.js("return document.getElementById('bulk').hidden"), "one click would mark the whole pool"
    browser.js(
        "window.meddel.filters.search = { ...window.meddel.pool.search('patient 3/'), text: 'patient 3/' };"
        "document.querySelector('#tabs [data-tab=all]').click()"
    )
    wanted = [row for row, id in enumerate(selection.ids) if "patient 3/" in id.lower()]
    assert len(wanted) > 3
    words = browser.js("return document.getElementById('bulk-words').textContent")
    assert words == f"All {len(wanted)} of these frames:"

    def marks_after(button: str) -> dict[int, str]:
        browser.js("document.getElementById(arguments[0]).click()", button)
        return dict(browser.js("return [...window.meddel.marks]"))

    assert marks_after("bulk-never") == {0: "keep", **dict.fromkeys(wanted, "never")}
    assert marks_after("bulk-undo") == {0: "keep"}
    assert browser.js("return document.getElementById('bulk-undo').disabled")
    assert marks_after("bulk-keep") == dict.fromkeys([0, *wanted], "keep")
    assert marks_after("bulk-none") == dict.fromkeys({0}.difference(wanted), "keep")
    assert marks_after("bulk-undo") == dict.fromkeys([0, *wanted], "keep")
    browser.js("document.getElementById('bulk-ids').click()")
    path = browser.downloads / "ids.txt"
    browser.until(path.is_file)
    assert path.read_text(encoding="utf-8").split("\n") == [*(selection.ids[row] for row in wanted), ""]
    path.unlink()
    browser.open(tmp_path / "page.html")  # a second file without a person's click is refused; marks are remembered
    browser.js("document.getElementById('save').click()")
    path = browser.downloads / "overrides.parquet"
    browser.until(path.is_file)
    assert Overrides.read(path) == Overrides({selection.ids[row] for row in [0, *wanted]})
    path.unlink()
    browser.js("localStorage.clear()")


def test_marks_of_a_tab_are_those_of_its_rows_alone(browser, pool, store, tmp_path):
    selection = Dedup(0.3, eta=0.95, then="random").select(store)
    opened(browser, selection, tmp_path, pool, store)
    browser.js("localStorage.clear(); window.meddel.marks.clear()")
    browser.js(
        "window.meddel.filters.lasso = { mask: new Uint8Array(window.meddel.pool.length).fill(1), count: 1 };"
        "document.querySelector('#tabs [data-tab=groups]').click(); document.getElementById('bulk-keep').click()"
    )
    rows = selection.table.to_pylist()
    leaders = {row["duplicate_of"] for row in rows if row["reason"] == "near-duplicate"}
    wanted = [n for n, row in enumerate(rows) if row["reason"] == "near-duplicate" or row["id"] in leaders]
    assert sorted(browser.js("return [...window.meddel.marks.keys()]")) == wanted
    browser.js("localStorage.clear()")


def test_where_points_hide_one_another_a_pixel_has_the_mean_of_their_colours(browser, pool, store, tmp_path):
    """40,000 points in three places: three of four at the first are red and drawn first, which kept ones would hide."""
    opened(browser, Random(0.5).select(store), tmp_path, pool, store)
    pixels = browser.js(
        """
        const canvas = document.createElement("canvas"), n = 40000;
        canvas.style.cssText = "width:300px;height:300px;position:fixed;top:0;left:0";
        document.body.append(canvas);
        const x = new Uint16Array(n), y = new Uint16Array(n), colors = new Uint32Array(n), front = new Uint8Array(n);
        for (let row = 0; row < n; row++) {
          const single = row === n - 1, first = row < n / 2;
          [x[row], y[row]] = single ? [60000, 0] : first ? [0, 0] : [60000, 60000];
          front[row] = single ? 0 : first ? row % 4 === 0 : 1;
          colors[row] = front[row] ? 0xff00ff00 : 0xff0000ff;
        }
        const map = new window.meddel.map.constructor(canvas, { x, y }, { onHover() {}, onPick() {}, onLasso() {} });
        [map.colors, map.front] = [colors, front];
        map.paint();
        const { scale, left, top } = map.frame;
        const context = canvas.getContext("2d"), pixel = (value, from) => Math.round(from + value * scale);
        const at = ([a, b]) => [...context.getImageData(pixel(a, left), pixel(b, top), 1, 1).data];
        const answer = [[0, 0], [60000, 60000], [60000, 0], [30000, 30000]].map(at);
        canvas.remove();
        return answer;
        """
    )
    mixed, whole, single, nothing = pixels
    assert mixed == pytest.approx([191, 64, 0, 255], abs=3)
    assert whole == pytest.approx([0, 255, 0, 255], abs=3)
    assert single[:3] == pytest.approx([255, 0, 0], abs=3)
    assert 90 < single[3] < 140, "a single point is fainter, and there"
    assert nothing == [0, 0, 0, 0]


def test_a_mark_of_the_selection_that_is_taken_away_stays_away(browser, store, tmp_path):
    selection = Random(0.5).select(store, overrides=Overrides(["  "], [HOSTILE]))
    path = opened(browser, selection, tmp_path)
    browser.js("localStorage.clear(); window.meddel.mark(6, null); window.meddel.mark(20, 'never')")
    browser.open(path)
    assert browser.js("return [...window.meddel.marks]") == [[5, "never"], [20, "never"]]
    browser.js("localStorage.clear()")


def test_whoever_moves_the_threshold_by_keys_stays_at_the_frame(browser, store, tmp_path):
    opened(browser, MedDEL(eta=0.9, epsilon=None, scope="pool").select(store), tmp_path)
    browser.js("document.querySelector('#tabs [data-tab=all]').click()")
    browser.js("document.querySelectorAll('#cards .frame')[3].focus()")
    row, eta = browser.js("return [document.activeElement.dataset.row, window.meddel.pool.now.eta]")
    press = "document.activeElement.dispatchEvent(new KeyboardEvent('keydown', { key: ']', bubbles: true }));"
    until = "while (window.meddel.pool.now.eta === arguments[0]) await new Promise((r) => setTimeout(r, 20));"
    for _ in range(3):
        browser.wait(f"{press} {until} return null", eta)
        assert browser.js("return document.activeElement.dataset.row") == row
        eta = browser.js("return window.meddel.pool.now.eta")
    assert eta == pytest.approx(0.903)


def test_frames_of_a_folder_are_found_by_their_paths(browser, tmp_path):
    """`load_dataset("imagefolder")` has no ids, and those of the command's pool are the paths inside the folder."""
    for row in range(6):
        path = tmp_path / "frames" / f"exam{row % 2}" / f"{row}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Pictures.new("RGB", (40, 30), colour(row)).save(path)
    store = embed(tmp_path / "frames", tiny_encoder(tmp_path / "encoder"), tmp_path / "store", progress=False)
    selection = Dedup(0.5, eta=0.999, then="random").select(store)
    folder = load_dataset("imagefolder", data_dir=str(tmp_path / "frames"), split="train")
    assert "id" not in folder.column_names
    page = selection.explore(folder.select(range(5, -1, -1)), embeddings=store).save(tmp_path / "page.html")
    browser.open(page)
    seen = browser.wait(
        "const answer = {};"
        "for (let row = 0; row < 6; row++) {"
        "  const image = new Image(); image.src = window.meddel.pictures.of(row); await image.decode();"
        "  const place = document.createElement('canvas').getContext('2d'); place.drawImage(image, 0, 0);"
        "  answer[window.meddel.pool.id(row)] = [...place.getImageData(5, 5, 1, 1).data];"
        "} return answer",
    )
    assert sorted(seen) == sorted(selection.ids)
    for id, pixel in seen.items():
        assert np.abs(np.array(pixel[:3]) - colour(int(Path(id).stem))).max() <= 12, id  # thumbnails are JPEGs


def test_an_id_is_the_same_text_in_the_page(browser, tmp_path):
    ids = ["\ufeffmarked", "a\0b", "\u05d0\u202e", "😀", "x" * 10_000, "{{data}}", "<!--<script>", "\u2028", "tab\t"]
    ids += IDS[len(ids) :]
    pool = Dataset.from_dict({"id": ids, "center": ["c\0", "c", "c", *["d" * 10_000] * 27]})
    selection = Random(0.5).select(stored(tmp_path / "store", pool), pool)
    browser.open(selection.explore(pool).save(tmp_path / "page.html"))
    of_each = "const { pool } = window.meddel; return [...pool.base.state.keys()].map((row) => pool.METHOD(row))"
    assert browser.js(of_each.replace("METHOD", "id")) == ids
    said = browser.js(of_each.replace("METHOD", "why"))
    assert said == words(selection)
    assert browser.js("return window.meddel.pool.columns[0].values") == ["d" * 10_000, "c", "c\0"]


def test_whoever_uses_keys_keeps_the_place(browser, pool, store, tmp_path):
    opened(browser, Dedup(0.3, eta=0.95, then="random").select(store), tmp_path, pool, store)
    held = "return document.activeElement.name"
    browser.js("const tab = document.querySelector('#tabs [data-tab=all]'); tab.focus(); tab.click()")
    assert browser.js(held) == "all"
    browser.js("const bar = document.querySelector('#bars [data-code=\"2\"]'); bar.focus(); bar.click()")
    assert browser.js(held) == "2"
    browser.js("window.meddel.open(20); document.querySelectorAll('#detail button')[1].focus()")
    browser.js("document.activeElement.click()")
    assert browser.js("return [window.meddel.marks.get(20), document.activeElement.getAttribute('aria-pressed')]") == [
        "keep",
        "true",
    ]
    browser.js("localStorage.clear()")


def test_the_command_asks_for_what_the_page_shows(browser, store, tmp_path):
    selection = MedDEL(0.3, scope="pool", epsilon=None, engine="pairs").select(store)
    opened(browser, selection, tmp_path)
    for retention in (0.5020833333333332, 0.77):
        answer = moved(browser, {"ask": "retention", "retention": retention})
        asked = float(browser.js("return document.getElementById('command').textContent").split("--retention ")[1])
        agrees(answer, selection.at(retention=asked))
    answer = moved(browser, {"ask": "eta", "eta": 0.95123456})
    assert browser.js("return document.getElementById('command').textContent").endswith("--eta 0.95123456")


def test_the_column_of_ids_is_none_to_colour_by(store, pool, tmp_path):
    named = pool.select(range(30)).rename_column("id", "key")
    selection = Random(0.5).select(stored(tmp_path / "store", named, id_column="key"))
    assert [column.name for column in explorer.Explorer(selection, "t", named)._columns] == ["center", "folder"]


def test_a_selection_with_three_columns_says_what_it_records(browser, store, tmp_path):
    whole = MedDEL(0.3, epsilon=0.9, engine="pairs", n_clusters=6).select(store)
    selection = replace(whole, table=whole.table.select(["id", "kept", "reason"]), graph=None, density=None)
    assert selection.summary.outliers
    assert selection.summary.near_duplicates
    opened(browser, selection, tmp_path)
    said = browser.js("const { pool } = window.meddel; return [...pool.base.state.keys()].map((row) => pool.why(row))")
    assert said == words(selection)
    assert words(selection)[9] == f"{whole.ids[9]} is dropped: unreadable; no more is recorded"
    for tab, count in (("state3", selection.summary.outliers), ("groups", selection.summary.near_duplicates)):
        browser.js("document.querySelector(`#tabs [data-tab=${arguments[0]}]`).click()", tab)
        shown = browser.js("return document.querySelectorAll('#cards .frame').length")
        assert min(48, count) <= shown <= count
    assert "no graph of near-duplicates is stored" in browser.js("return document.getElementById('notes').textContent")
    assert browser.messages() == []


def test_values_beyond_the_bars_are_counted(browser, store, pool, tmp_path):
    many = pool.remove_columns("center").add_column("label", [f"v{row % 70:02d}" for row in range(ROWS)])
    opened(browser, Random(0.5).select(store), tmp_path, many)
    browser.js("const by = document.getElementById('by'); by.value = 0; by.dispatchEvent(new Event('change'))")
    assert browser.js("return document.querySelectorAll('#bars button').length") == 60
    assert browser.js("return document.querySelector('#bars .sub').textContent") == "and 10 more, of fewer frames"


def test_without_frames_and_map_the_rest_is_there(browser, store, tmp_path):
    selection = Dedup(0.3, eta=0.95, then="random").select(store)
    opened(browser, selection, tmp_path)
    assert "No frames are shown" in browser.js("return document.getElementById('notes').textContent")
    assert browser.js("return document.getElementById('plane').hidden")
    assert browser.js("return document.querySelectorAll('#cards .none').length") > 0
    assert browser.messages() == []


def test_a_notebook_shows_the_page_in_a_frame_of_its_own(browser, pool, store, tmp_path):
    page = Random(0.5).select(store).explore(pool, embeddings=store)
    assert repr(page) == f"Page({len(page.html):,} characters of HTML; save(path) writes it, open(path) shows it too)"
    cell = tmp_path / "cell.html"
    cell.write_text(f"<!doctype html><meta charset=utf-8><body>{page._repr_html_()}", encoding="utf-8")
    browser.driver.get(cell.as_uri())
    browser.driver.switch_to.frame(0)
    try:
        browser.until(lambda: browser.js("return document.body?.dataset.ready === 'yes'"))
        assert browser.js("return document.getElementById('lead').textContent").startswith("120 of 240 frames stay")
    finally:
        browser.driver.switch_to.default_content()


def test_more_frames_than_a_page_carries_are_for_the_server(pool, store, monkeypatch):
    monkeypatch.setattr(explorer, "MOST_FRAMES", ROWS - 1)
    with pytest.raises(InvalidArgument, match=r"240 frames are more than the 239 .*`meddel explore`"):
        Random(0.5).select(store).explore(pool)


def test_another_pool_and_other_embeddings_are_refused(pool, store, tmp_path):
    selection = Random(0.5).select(store)
    with pytest.raises(Mismatch, match="not the one that was selected from"):
        selection.explore(Dataset.from_dict({"id": ["x"], "image": [None]}))
    for several in (pool.to_iterable_dataset(), DatasetDict({"train": pool})):
        with pytest.raises(
            InvalidDataset, match=r"must be a datasets.Dataset, got (DatasetDict|IterableDataset): give"
        ):
            selection.explore(several)
    other = StoreWriter.begin(tmp_path / "o", {"encoder": "a/b", "pool": None, "revision": None}, {"pool": "0" * 32})
    other.write(Shard(0, 0, ["x"], [None], np.eye(16, dtype=np.float32)[:1]))
    with pytest.raises(Mismatch, match="was not made from"):
        selection.explore(pool, embeddings=other.finish(dim=16, row_ids=False))


def test_what_is_said_of_the_machine_is_no_path(pool, store, tmp_path):
    selection = Random(0.5).select(store)
    html = selection.explore(pool, embeddings=store).html
    assert str(tmp_path.parent) not in html
    assert json.dumps(str(tmp_path)) not in html
    assert isinstance(selection.table, pa.Table)
