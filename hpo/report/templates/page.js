"use strict";
// Plots are drawn when they come near the viewport, so that the first screen appears at once.
const plots = [...document.querySelectorAll(".plot")];
const drawing = (plot) => plot.querySelector(".drawing");

function themed(layout) {
  const style = getComputedStyle(document.documentElement);
  const of = (name) => style.getPropertyValue(name).trim();
  const dragmode = matchMedia("(pointer: fine)").matches ? "zoom" : false; // with touch, a drag scrolls the page
  const hover = { bgcolor: of("--shade"), bordercolor: of("--line"), font: { color: of("--ink") } };
  return { ...layout, dragmode, font: { ...layout.font, color: of("--ink") }, hoverlabel: { ...layout.hoverlabel, ...hover } };
}

function draw(plot) {
  if (plot.drawn || !window.Plotly) return;
  plot.drawn = JSON.parse(plot.querySelector(".plot-data").textContent);
  const { data, layout } = plot.drawn;
  Plotly.newPlot(drawing(plot), data, themed(layout), { responsive: true, displayModeBar: false });
}

function applyTheme() {
  for (const plot of plots.filter((plot) => plot.drawn)) {
    const { font, hoverlabel } = themed(plot.drawn.layout);
    Plotly.relayout(drawing(plot), { font, hoverlabel });
  }
}

for (const plot of plots) {
  const { layout } = JSON.parse(plot.querySelector(".plot-data").textContent);
  drawing(plot).style.minHeight = `${layout.height || 360}px`; // reserve the space, so that drawing moves nothing
}
const observer = new IntersectionObserver(
  (entries) => entries.filter((entry) => entry.isIntersecting).forEach((entry) => draw(entry.target)),
  { rootMargin: "600px" },
);
plots.forEach((plot) => observer.observe(plot));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", applyTheme);
matchMedia("print").addEventListener("change", applyTheme);
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
