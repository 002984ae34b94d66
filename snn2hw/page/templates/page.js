"use strict";
const page = JSON.parse(document.getElementById("page-data").textContent);
const dark = window.matchMedia("(prefers-color-scheme: dark)");
const narrow = window.matchMedia("(max-width: 600px)");
const paper = { width: 660, tallest: 900 }; // pixels of a figure on A4
let printing = false;

// The colours of the page, so that the figures follow its theme. Paper is white.
function theme() {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => printing ? { "--line": "#d9dde3", "--text": "#1d2127", "--ground": "#ffffff" }[name]
                                    : style.getPropertyValue(name).trim();
  const axis = { gridcolor: colour("--line"), zerolinecolor: colour("--line"), linecolor: colour("--line") };
  return {
    layout: {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: colour("--text"), size: narrow.matches || printing ? 10 : 12, family: "system-ui, sans-serif" },
      hoverlabel: { bgcolor: colour("--ground"), bordercolor: colour("--line"), font: { color: colour("--text") } },
      xaxis: axis, yaxis: axis,
    },
  };
}

// Nothing of a figure leaves the page: no sharing, no editor; the camera saves a vector graphic.
const settings = {
  responsive: true, displaylogo: false, displayModeBar: "hover", showSendToCloud: false, plotlyServerURL: "",
  modeBarButtons: [["toImage", "zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"]],
  toImageButtonOptions: { format: "svg" },
};

// A layout for the screen or for a sheet of paper, on which many rows share its height.
function fitted(layout) {
  const axes = { xaxis: { ...layout.xaxis }, yaxis: { ...layout.yaxis } };
  if (!printing) return { ...layout, ...axes, template: theme() };
  const rows = axes.yaxis.categoryarray?.length ?? 1;
  const height = Math.min(layout.height, paper.tallest);
  axes.yaxis.tickfont = { size: Math.max(3, Math.min(10, (0.8 * height) / rows)) };
  return { ...layout, ...axes, template: theme(), width: paper.width, height, autosize: false };
}

const drawers = [];
for (const box of document.querySelectorAll("[data-figure]")) {
  const figure = page.figures[box.dataset.figure];
  drawers.push(() => Plotly.react(box, figure.data, fitted(figure.layout), settings));
}

// The raster of the chosen sample and layer.
function prepareRaster() {
  const [box, sample, layer] = ["raster", "raster-sample", "raster-layer"].map((id) => document.getElementById(id));
  if (!box) return;
  for (const [at, one] of page.rasters.entries()) sample.add(new Option(one.sample, at));
  for (const [at, one] of page.rasters[0].layers.entries()) layer.add(new Option(one.name, at));
  const draw = () => {
    const chosen = page.rasters[sample.value];
    const shown = chosen.layers[layer.value];
    const values = shown.events.map((event) => event[2]);
    const graded = values.some((value) => value > 1);
    const label = chosen.label === null ? "" : `, label ${chosen.label}`;
    document.getElementById("raster-answer").textContent =
      `answer ${chosen.answer}${label}; ${shown.events.length} spikes of ${shown.neurons.length} of ${shown.size} units`;
    const trace = {
      type: "scatter", mode: "markers",
      x: shown.events.map((event) => event[0] + 1), y: shown.events.map((event) => shown.neurons[event[1]]),
      marker: { symbol: "line-ew", size: 14, line: { width: 3, color: graded ? values : page.colour,
                ...(graded ? { colorscale: page.colours, cmin: 0 } : {}) } },
      customdata: values, hovertemplate: "step %{x}, unit %{y}, value %{customdata}<extra></extra>",
    };
    const layout = {
      height: 420, margin: { l: 8, r: 12, t: 8, b: 44 }, showlegend: false,
      xaxis: { title: { text: "time step" }, range: [0.5, page.timesteps + 0.5], dtick: page.timesteps > 20 ? undefined : 1,
               automargin: true },
      yaxis: { title: { text: "unit" }, range: [-0.02 * shown.size - 0.5, 1.02 * shown.size], automargin: true },
    };
    return Plotly.react(box, [trace], fitted(layout), settings);
  };
  sample.onchange = draw;
  layer.onchange = draw;
  drawers.push(draw);
}

// What does not fit its box says so, and can be scrolled from the keyboard.
function markScrolling() {
  for (const box of document.querySelectorAll(".scroll")) {
    const wide = box.scrollWidth > box.clientWidth + 1, high = box.scrollHeight > box.clientHeight + 1;
    box.parentElement.classList.toggle("scrolls", wide || high);
    box.parentElement.dataset.more = wide && high ? "scroll for more" : wide ? "scroll sideways for more" : "scroll down for more";
    if (wide || high) {
      box.tabIndex = 0;
      box.setAttribute("role", "region");
      box.setAttribute("aria-label", box.dataset.label);
    } else for (const name of ["tabindex", "role", "aria-label"]) box.removeAttribute(name);
  }
}

// On a wide screen, each part goes into the shorter of two columns, so that none has a hole.
const parts = new Map([...document.querySelectorAll(".columns")].map((box) => [box, [...box.children]]));
function arrange() {
  for (const [box, children] of parts) {
    if (printing || children.length < 2 || getComputedStyle(box).display !== "grid") {
      box.replaceChildren(...children);
      continue;
    }
    const heights = children.map((child) => child.offsetHeight);
    const columns = [0, 0].map((height) => ({ height, box: document.createElement("div") }));
    for (const [at, child] of children.entries()) {
      const shorter = columns[0].height <= columns[1].height ? columns[0] : columns[1];
      shorter.box.append(child);
      shorter.height += heights[at];
    }
    box.replaceChildren(...columns.map((column) => column.box));
  }
}

async function drawAll() {
  await Promise.all(drawers.map((draw) => draw()));
  arrange();
  markScrolling();
}

function drawForPaper(on) {
  if (printing === on) return;
  printing = on;
  if (on) for (const part of document.querySelectorAll("details")) part.open = true;
  for (const box of document.querySelectorAll(".js-plotly-plot")) if (!on) delete box.layout?.width;
  if (on) arrange();
  drawAll();
}

prepareRaster();
drawAll().then(() => { document.documentElement.dataset.drawn = drawers.length; });
for (const media of [dark, narrow]) media.addEventListener("change", drawAll);
window.addEventListener("resize", () => { arrange(); markScrolling(); });
window.addEventListener("beforeprint", () => drawForPaper(true));
window.addEventListener("afterprint", () => drawForPaper(false));
