"""The look of the page: light and dark, on screen and on paper; nothing is fetched."""

STYLE = """
:root { color-scheme: light dark; --ground: #fbfbfa; --card: #ffffff; --ink: #1d2127; --soft: #5d6672; --line: #e3e5e8;
  --error: #b3261e; --warning: #9a5b00; --note: #35618e; --good: #1a7f4b; --bar: #0072b2; --bar2: #d55e00;
  --error-ground: #fdecea; --warning-ground: #fff4e0; --note-ground: #eaf2fb; --good-ground: #e6f5ec; }
@media (prefers-color-scheme: dark) { :root { --ground: #15181c; --card: #1e2227; --ink: #e8eaed; --soft: #a0a8b3;
  --line: #32383f; --error: #ff8a80; --warning: #ffc266; --note: #8ec2f5; --good: #7ddba3; --bar: #56b4e9;
  --bar2: #ffa366; --error-ground: #3a1e1c; --warning-ground: #3a2d16; --note-ground: #1c2c3d;
  --good-ground: #17321f; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, "Noto Sans", sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 32px 24px 80px; }
h1 { font-size: 30px; margin: 0 0 4px; letter-spacing: -0.01em; }
h2 { font-size: 22px; margin: 48px 0 12px; padding-top: 8px; }
h3 { font-size: 17px; margin: 28px 0 8px; }
p { margin: 6px 0; } .soft { color: var(--soft); } small, .small { font-size: 13.5px; }
code { font: 13.5px/1.4 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; overflow-wrap: anywhere; }
a { color: var(--note); }
.verdict { border-radius: 12px; padding: 16px 20px; margin: 20px 0; font-size: 18px; }
.verdict.error { background: var(--error-ground); } .verdict.warning { background: var(--warning-ground); }
.verdict.note, .verdict.good { background: var(--good-ground); }
nav ul { columns: 2; column-gap: 32px; padding-left: 20px; margin: 8px 0; } nav li { break-inside: avoid; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(180px, 1fr)); gap: 14px; margin: 16px 0; }
.tile, .finding { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 16px 18px; }
.tile b.big { display: block; font-size: 26px; line-height: 1.2; }
.finding { margin: 16px 0; border-left: 5px solid var(--note); }
.finding.error { border-left-color: var(--error); } .finding.warning { border-left-color: var(--warning); }
.finding h3 { margin: 0 0 6px; }
.badge { display: inline-block; border-radius: 999px; padding: 1px 10px; font-size: 13px; font-weight: 600;
  margin-right: 8px; vertical-align: 2px; }
.badge.error { background: var(--error-ground); color: var(--error); }
.badge.warning { background: var(--warning-ground); color: var(--warning); }
.badge.note { background: var(--note-ground); color: var(--note); }
.finding ul { margin: 6px 0; padding-left: 20px; overflow-wrap: anywhere; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(230px, 1fr)); gap: 14px; margin-top: 12px; }
.pictures.pairs { grid-template-columns: 1fr; }
figure { margin: 0; } figure img { display: block; width: 100%; height: auto; border-radius: 8px; background: #888; }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 8px; }
figcaption { font-size: 13px; color: var(--soft); margin-top: 4px; overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: 14.5px; }
th, td { text-align: right; padding: 5px 10px; border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-weight: 600; }
th:first-child, td:first-child { text-align: left; overflow-wrap: anywhere; }
.bar { height: 12px; border-radius: 3px; background: var(--bar); min-width: 1px; }
.bar.second { background: var(--bar2); }
td.bars { width: 34%; }
svg { max-width: 100%; height: auto; } svg text { fill: var(--soft); font-size: 12px; font-family: inherit; }
svg .axis { stroke: var(--line); } svg .dot { fill: var(--bar); fill-opacity: 0.35; }
svg .dot.out { fill: var(--bar2); fill-opacity: 0.8; } svg .anchor { fill: none; stroke: var(--soft); }
.scroll { overflow-x: auto; }
@media print { body { background: none; } .finding, .tile, figure { break-inside: avoid; } }
"""
