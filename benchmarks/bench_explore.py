"""The page of a selection in a real browser: how long until it is there, until the slider answers, until it is drawn.

    python benchmarks/bench_explore.py --rows 20000 88282 1000000

For each number of rows, a store in the groups of bench_select's `spread` pool, without frames; `MedDEL(eta=...)` by
cluster with its pairs stored; then `meddel explore --serve` in a process of its own and Debian's Chromium, headless.
Times are the browser's: `ready`, from the request until the page can be used; `slider`, from a question until its
answer is on the page, and of that the worker's own walk; `map`, one drawing of all points; `search`, of a part of an
id. Needs chromium, chromedriver and selenium.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench_memory import spread_store
from bench_select import machine
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

STEPS = (0.1, 0.25, 0.4, 0.5, 0.6, 0.75, 0.95)  # of the way from the lowest eta to 1


def measured(address: str) -> dict[str, float]:
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for option in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking"):
        options.add_argument(option)
    driver = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
    try:
        driver.set_script_timeout(600)
        driver.get(address)
        while driver.execute_script("return document.body?.dataset.ready") != "yes":
            time.sleep(0.05)
        answer = {"ready": float(driver.execute_script("return document.body.dataset.read")) / 1000}
        ask = (
            "const done = arguments[1], began = performance.now();"
            "window.meddel.move({ ask: 'eta', eta: arguments[0] }).then(() =>"
            " done([performance.now() - began, window.meddel.milliseconds ?? NaN]))"
        )
        while driver.execute_script("return document.body.dataset.curve") != "drawn":
            time.sleep(0.1)
        low = driver.execute_script("return window.meddel.lowest")
        answer["pairs"] = driver.execute_script("return window.meddel.pool.arrays.later.length")
        times = [driver.execute_async_script(ask, eta) for eta in (low + step * (1 - low) for step in STEPS)]
        answer["slider ms"], answer["worker ms"] = (statistics.median(each) for each in zip(*times, strict=True))
        answer["slider, most ms"] = max(first for first, _ in times)
        timed = "const began = performance.now(); {}; return performance.now() - began"
        answer["map ms"] = driver.execute_script(timed.format("window.meddel.map.paint()"))
        answer["search ms"] = driver.execute_script(timed.format("window.meddel.pool.search('frame/00099')"))
        answer["memory GB"] = driver.execute_script("return performance.memory.usedJSHeapSize") / 1e9
        return answer
    finally:
        driver.quit()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[20_000, 88_282])
    parser.add_argument("--eta", type=float, default=0.8, help="lower: more pairs (default: 0.8)")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    args = parser.parse_args()
    print(machine(args), flush=True)
    for n in args.rows:
        with tempfile.TemporaryDirectory(dir=args.folder) as scratch:
            store, selection = Path(scratch, "store"), Path(scratch, "selection")
            spread_store(store, n)
            command = [sys.executable, "-m", "meddel_hf", "select", str(store), "--selector", "meddel"]
            command += ["--eta", str(args.eta), "--epsilon", "none", "--engine", "pairs", "--out", str(selection)]
            began = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            took = time.perf_counter() - began
            command = [sys.executable, "-m", "meddel_hf", "explore", str(selection), "--serve", "--no-browser"]
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
                assert server.stdout is not None
                try:
                    figures = measured(server.stdout.readline().strip())
                finally:
                    server.send_signal(signal.SIGINT)
            said = "  ".join(f"{name} {value:,.2f}" for name, value in figures.items())
            print(f"{n:>10,}  select {took:.0f} s  {said}", flush=True)


if __name__ == "__main__":
    main()
