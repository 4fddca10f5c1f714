"""How the page looks: on a desk, on a phone, on paper; light and dark. Figures take their colours from here too.

The palette is Okabe and Ito's (2008), told apart by all common kinds of colour vision; every arm has a marker as well.
"""

from __future__ import annotations

# Figures are drawn in the light colours; the page replaces each by a variable, which the dark theme redefines.
INK, FAINT, RULE, MORE, LESS = "#1b2733", "#66727f", "#d5dbe1", "#00664a", "#a33c00"
CHANCE = "#59636e"  # random, the rival
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#b2568a", "#a87500", "#3d9bd1", "#7a5cc0", "#8a4b20")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "h")

_DARK = {
    INK: "#e6ebf0", FAINT: "#9aa7b4", RULE: "#3a4652", MORE: "#54c8a2", LESS: "#f19a66", CHANCE: "#aab4be",
    "#0072b2": "#57b0ea", "#d55e00": "#ff9148", "#009e73": "#3fd0a4", "#b2568a": "#e793c2", "#a87500": "#e2b13c",
    "#3d9bd1": "#8fd0f5", "#7a5cc0": "#b39df0", "#8a4b20": "#d19a6e",
}  # fmt: skip


def variable(colour: str) -> str:
    """The CSS variable that stands for one of the colours above."""
    return f"--c{colour[1:]}"


def variables() -> dict[str, str]:
    """Colour -> `var(...)`, of every colour that the dark theme redefines."""
    return {colour: f"var({variable(colour)})" for colour in _DARK}


def css() -> str:
    light = "".join(f"{variable(colour)}:{colour};" for colour in _DARK)
    dark = "".join(f"{variable(colour)}:{other};" for colour, other in _DARK.items())
    names = f"--ink:var({variable(INK)});--faint:var({variable(FAINT)});--rule:var({variable(RULE)});"
    names += f"--more:var({variable(MORE)});--less:var({variable(LESS)});"
    root = f":root{{color-scheme:light;{light}{names}--paper:#fff;--card:#f5f7f9;--warn:#fff4dc;--warn-rule:#d9a300}}"
    night = (
        f"@media screen and (prefers-color-scheme:dark){{:root{{color-scheme:dark;{dark}"
        "--paper:#12181e;--card:#1a222a;--warn:#2e2713;--warn-rule:#b58b1a}}"
    )
    return root + night + _RULES


_RULES = """
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;text-size-adjust:100%;scroll-behavior:smooth}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,
"Helvetica Neue",Arial,"DejaVu Sans",sans-serif;font-variant-numeric:tabular-nums;overflow-wrap:break-word}
main,header,nav,footer{max-width:1120px;margin:0 auto;padding:0 20px}
header{padding-top:36px}
h1{font-size:1.9rem;line-height:1.15;margin:0 0 6px;letter-spacing:-.015em}
h2{font-size:1.35rem;line-height:1.2;margin:52px 0 14px;padding-top:14px;border-top:2px solid var(--ink)}
h3{font-size:1rem;margin:0;line-height:1.3}
p{max-width:74ch;margin:0 0 14px}
.sub,.note,figcaption,footer{color:var(--faint);font-size:.86rem}
.lead{font-size:1.12rem;line-height:1.5}
.warning{background:var(--warn);border-left:4px solid var(--warn-rule);padding:9px 14px;border-radius:0 6px 6px 0}
nav ul{display:flex;flex-wrap:wrap;gap:6px 18px;list-style:none;margin:18px 0 0;padding:0;font-size:.92rem}
a{color:inherit;text-decoration-color:var(--faint);text-underline-offset:3px}
.points{background:var(--card);border-radius:10px;padding:14px 18px;margin:0 0 14px}
.points ul{margin:8px 0 0;padding:0;list-style:none}
.points li{padding:3px 0 3px 16px;border-left:3px solid var(--rule);margin:5px 0}
.points li.more{border-color:var(--more)}.points li.less{border-color:var(--less)}
li.more b,td.more b{color:var(--more)}li.less b,td.less b{color:var(--less)}
.points .sub{margin:2px 0 0}
.tables{display:flex;flex-wrap:wrap;gap:26px 56px;align-items:flex-start;margin:24px 0 34px}
.table{max-width:100%;min-width:min(34ch,100%)}
.table h3,.table .sub{width:0;min-width:100%}.table .sub{margin:2px 0 6px}
.scroll{overflow-x:auto;max-width:100%}
table{border-collapse:collapse;font-size:.92rem;line-height:1.35}
th,td{padding:6px 12px 6px 0;text-align:right;vertical-align:top;border-bottom:1px solid var(--rule)}
thead th{border-bottom:1.5px solid var(--ink);font-weight:600;white-space:nowrap}
th:first-child,td:first-child{text-align:left}
tbody th{font-weight:500;min-width:6.2em;max-width:16em;position:sticky;left:0;background:var(--paper)}
td b{font-weight:600;white-space:nowrap}td.faint b{font-weight:400;color:var(--faint)}td[colspan]{text-align:left}
td .small{display:block;color:var(--faint);font-size:.8rem}
.gallery{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(330px,100%),1fr));gap:26px 30px;
margin:20px 0 26px}
figure{margin:0;min-width:0}
figure img{display:block;max-width:100%;height:auto;border-radius:6px}
figure svg{display:block;width:100%;height:auto}
figure svg text{font-family:system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,"DejaVu Sans",sans-serif}
figcaption{margin-top:6px;line-height:1.4}
details,.listing{margin:14px 0}
pre{background:var(--card);border-radius:8px;padding:12px 14px;font:12.5px/1.5 ui-monospace,SFMono-Regular,Menlo,
Consolas,"DejaVu Sans Mono",monospace;white-space:pre-wrap;overflow-wrap:anywhere;margin:6px 0 0}
footer{padding-top:30px;padding-bottom:50px}
@media(max-width:520px){
body{font-size:15px}main,header,nav,footer{padding-left:16px;padding-right:16px}
h1{font-size:1.5rem}h2{font-size:1.2rem;margin-top:40px}
table{font-size:.84rem}th,td{padding-right:9px}tbody th{min-width:4.8em;max-width:8.5em}
td .small{font-size:.72rem}thead th{white-space:normal;vertical-align:bottom}.points{padding:12px 13px}}
@media print{
@page{size:A4;margin:14mm 13mm}
html{font-size:9.6pt}body{font-size:1rem;line-height:1.42}main,header,nav,footer{max-width:none;padding:0}header{padding-top:0}
nav{display:none}h2{margin-top:22pt;break-after:avoid}h3,.table .sub{break-after:avoid;break-inside:avoid}
thead{break-after:avoid}
.points li,figure,tr,.warning{break-inside:avoid}.scroll{overflow:visible}
.tables{display:block;margin:14pt 0}.table{margin:0 0 14pt}
.gallery{grid-template-columns:1fr 1fr;gap:14pt 18pt}
.lead{font-size:1.05rem}tbody th{position:static}.points,pre{background:none;border:1px solid var(--rule)}}
"""
