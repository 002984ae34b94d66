"use strict";
const page = JSON.parse(document.getElementById("page-data").textContent);
const dark = window.matchMedia("(prefers-color-scheme: dark)");
const narrow = window.matchMedia("(max-width: 600px)");

// The colours of the page, so that the figures follow its theme.
function theme() {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const axis = { gridcolor: colour("--line"), zerolinecolor: colour("--line"), linecolor: colour("--line") };
  return {
    layout: {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: colour("--text"), size: narrow.matches ? 10 : 12, family: "system-ui, sans-serif" },
      hoverlabel: { bgcolor: colour("--ground"), bordercolor: colour("--line"), font: { color: colour("--text") } },
      xaxis: axis, yaxis: axis,
    },
  };
}

const settings = { responsive: true, displaylogo: false, displayModeBar: "hover",
                   modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"] };
const drawers = [];

for (const box of document.querySelectorAll("[data-figure]")) {
  const figure = page.figures[box.dataset.figure];
  drawers.push(() => Plotly.react(box, figure.data, { ...figure.layout, template: theme() }, settings));
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
      marker: { symbol: "line-ew", size: 14, line: { width: 3, color: graded ? values : "#4a8fd4",
                ...(graded ? { colorscale: page.colours, cmin: 0 } : {}) } },
      customdata: values, hovertemplate: "step %{x}, unit %{y}, value %{customdata}<extra></extra>",
    };
    const layout = {
      template: theme(), height: 420, margin: { l: 8, r: 12, t: 8, b: 44 }, showlegend: false,
      xaxis: { title: { text: "time step" }, range: [0.5, page.timesteps + 0.5], dtick: page.timesteps > 20 ? undefined : 1,
               automargin: true },
      yaxis: { title: { text: "unit" }, range: [-0.02 * shown.size - 0.5, 1.02 * shown.size], automargin: true },
    };
    return Plotly.react(box, [trace], layout, settings);
  };
  sample.onchange = draw;
  layer.onchange = draw;
  drawers.push(draw);
}

function drawAll() {
  return Promise.all(drawers.map((draw) => draw()));
}

prepareRaster();
drawAll().then(() => { document.documentElement.dataset.drawn = drawers.length; });
for (const media of [dark, narrow]) media.addEventListener("change", drawAll);
