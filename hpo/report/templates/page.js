"use strict";
// Plots are drawn when they come near the screen, so that the first screen is there at once.
const plots = [...document.querySelectorAll(".plot")];
const drawing = (plot) => plot.querySelector(".drawing");

function coloured(layout) {
  const style = getComputedStyle(document.documentElement);
  const of = (name) => style.getPropertyValue(name).trim();
  const dragmode = matchMedia("(pointer: fine)").matches ? "zoom" : false; // a finger scrolls the page
  const hover = { bgcolor: of("--shade"), bordercolor: of("--line"), font: { color: of("--ink") } };
  return { ...layout, dragmode, font: { ...layout.font, color: of("--ink") }, hoverlabel: { ...layout.hoverlabel, ...hover } };
}

function draw(plot) {
  if (plot.drawn || !window.Plotly) return;
  plot.drawn = JSON.parse(plot.querySelector(".plot-data").textContent);
  const { data, layout } = plot.drawn;
  Plotly.newPlot(drawing(plot), data, coloured(layout), { responsive: true, displayModeBar: false });
}

function recolour() {
  for (const plot of plots.filter((each) => each.drawn)) {
    const { font, hoverlabel } = coloured(plot.drawn.layout);
    Plotly.relayout(drawing(plot), { font, hoverlabel });
  }
}

for (const plot of plots) {
  const { layout } = JSON.parse(plot.querySelector(".plot-data").textContent);
  drawing(plot).style.minHeight = `${layout.height || 360}px`; // nothing moves when it is drawn
}
const seen = new IntersectionObserver(
  (entries) => entries.filter((entry) => entry.isIntersecting).forEach((entry) => draw(entry.target)),
  { rootMargin: "600px" },
);
plots.forEach((plot) => seen.observe(plot));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolour);
matchMedia("print").addEventListener("change", recolour);
addEventListener("beforeprint", () => plots.forEach(draw));

for (const button of document.querySelectorAll(".copy")) {
  const code = button.closest("figure").querySelector("code");
  button.hidden = !navigator.clipboard;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(code.textContent);
    button.textContent = "copied";
    setTimeout(() => (button.textContent = "copy"), 1500);
  });
}
