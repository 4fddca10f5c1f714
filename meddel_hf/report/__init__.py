"""The report: a folder of benchmark runs in, one page that says what holds and what does not out.

`reading` takes the folder in, `findings` compares, `answer`, `tables`, `figures`, `limits` and `record` say it,
`page` and `markdown` write it down, `build` puts them together.
"""

from __future__ import annotations
