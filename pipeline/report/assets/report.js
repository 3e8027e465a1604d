"use strict";
/* What moves in the report: theme, curves, steps of pictures, values under the pointer, live data. */
(() => {
  const byId = (id) => document.getElementById(id);
  const make = (tag, props = {}, ...children) => {
    const node = Object.assign(document.createElement(tag), props);
    node.append(...children);
    return node;
  };
  const probe = document.body.appendChild(make("span", { hidden: true }));
  /** A colour of the style sheet as a canvas takes it: names resolved, the theme chosen. */
  const colour = (name) => {
    probe.style.color = `var(${name})`;
    return getComputedStyle(probe).color;
  };
  const remember = (key, value) => { try { localStorage.setItem(key, value); } catch { /* a file may have no storage */ } };
  const recall = (key) => { try { return localStorage.getItem(key); } catch { return null; } };

  // ---- numbers -----------------------------------------------------------------------------
  const compact = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 4 });
  function number(value) {
    if (value === null || value === undefined) return "–";
    const size = Math.abs(value);
    if (size !== 0 && size < 1e-3) return value.toExponential(2);
    return size >= 1e4 ? compact.format(value) : String(Number(value.toPrecision(4)));
  }

  // ---- theme -------------------------------------------------------------------------------
  const THEMES = ["system", "light", "dark"];
  const SIGNS = { system: "◐", light: "○", dark: "●" };
  const themeButton = byId("theme");
  function setTheme(theme) {
    if (theme === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    themeButton.textContent = `${SIGNS[theme]} ${theme}`;
    themeButton.ariaLabel = `colour theme: ${theme}`;
    themeButton.value = theme;
    redrawAll();
  }
  themeButton.addEventListener("click", () => {
    const next = THEMES[(THEMES.indexOf(themeButton.value) + 1) % THEMES.length];
    remember("pipeline-report-theme", next);
    setTheme(next);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => redrawAll());

  // ---- charts ------------------------------------------------------------------------------
  const HEIGHT = 216;
  const NUM_HUES = 8;
  const DASHES = [[], [7, 4], [2, 3], [9, 3, 2, 3]];
  const drawn = new Set();       // charts that have a canvas now
  const drawLater = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) entry.target.chart?.draw();
  }, { rootMargin: "400px" });
  const fit = new ResizeObserver((entries) => {
    for (const entry of entries) entry.target.chart?.fit();
  });

  /** Exponential mean without the bias of its start; holes stay holes. */
  function smoothed(values, weight) {
    let last = 0, norm = 0;
    return values.map((value) => {
      if (value === null) return null;
      last = last * weight + value * (1 - weight);
      norm = norm * weight + (1 - weight);
      return last / norm;
    });
  }

  /** A chart in `host`: curves {label, x, y, hue, dash, shown}; `options` = {log, smooth, view, zoom, sync}. */
  class Chart {
    constructor(host, curves, options) {
      Object.assign(this, { host, curves, options, plot: null });
      host.chart = this;
      host.setAttribute("role", "group");
      drawLater.observe(host);
      fit.observe(host);
      host.addEventListener("keydown", (event) => this.onKey(event));
    }
    remove() {
      this.erase();
      drawLater.unobserve(this.host);
      fit.unobserve(this.host);
    }
    erase() {
      this.plot?.destroy();
      this.plot = null;
      drawn.delete(this);
    }
    fit() {
      const width = this.host.clientWidth;
      if (this.plot && width && width !== this.plot.width) this.plot.setSize({ width, height: HEIGHT });
    }
    redraw() { if (this.plot) { this.erase(); this.draw(); } }
    draw() {
      if (this.plot || !this.host.clientWidth) return;
      const { log, smooth } = this.options;
      const shown = this.curves.filter((curve) => curve.shown);
      const positive = (y) => (log ? y.map((v) => (v !== null && v > 0 ? v : null)) : y);
      const lines = shown.flatMap((curve) => {
        const y = positive(curve.y);
        const bold = { ...curve, y };
        return smooth > 0 ? [{ ...bold, faint: true }, { ...bold, y: positive(smoothed(curve.y, smooth)) }] : [bold];
      });
      const isLog = log && lines.some((line) => line.y.some((v) => v !== null));
      const data = lines.length ? uPlot.join(lines.map((line) => [line.x, line.y])) : [[0, 1]];
      this.plot = new uPlot(this.config(lines, isLog), data, this.host);
      this.lines = lines;
      drawn.add(this);
      this.show(this.options.view());
    }
    config(lines, isLog) {
      const axis = { stroke: colour("--quiet"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "11px system-ui" };
      const format = (_, values) => values.map((v) => (v === null ? "" : number(v)));
      return {
        width: this.host.clientWidth, height: HEIGHT, legend: { show: false }, padding: [8, 18, 0, 0],
        scales: { x: { time: false }, y: isLog ? { distr: 3 } : {} },
        axes: [{ ...axis, values: format, size: 26 }, { ...axis, values: format, size: 54 }],
        series: [{}, ...lines.map((line) => ({
          stroke: colour(`--hue-${line.hue}`), width: line.faint ? 1 : 1.6, alpha: line.faint ? 0.28 : 1,
          dash: DASHES[line.dash % DASHES.length],
          // One point is no line; few are easier to read with their dots.
          points: { show: line.y.length <= 30 && !line.faint, size: 5 },
        }))],
        cursor: {
          drag: { x: true, y: false, setScale: false }, focus: { prox: 24 },
          sync: this.options.sync ? { key: this.options.sync, setSeries: false } : undefined,
          bind: { dblclick: () => () => { this.options.zoom(null); return null; } },
        },
        hooks: {
          setSelect: [(plot) => {
            if (plot.select.width < 4) return;
            const ends = [plot.select.left, plot.select.left + plot.select.width];
            this.options.zoom(ends.map((place) => plot.posToVal(place, "x")));
            plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
          }],
          setCursor: [(plot) => this.tell(plot.cursor.idx)],
        },
      };
    }
    /** The whole of x that there is. */
    span() {
      const ends = this.curves.filter((c) => c.shown && c.x.length).flatMap((c) => [c.x[0], c.x[c.x.length - 1]]);
      return ends.length ? [Math.min(...ends), Math.max(...ends)] : [0, 1];
    }
    show(view) {
      if (!this.plot) return;
      const [low, high] = view ?? this.span();
      this.plot.setScale("x", { min: low, max: high > low ? high : low + 1 });
    }
    /** Values at a place of the joined x, or the last ones. */
    tell(place) {
      if (!this.plot) return;
      this.lines.forEach((line, index) => {
        if (line.faint || !line.output) return;
        const column = this.plot.data[index + 1];
        let at = place ?? column.length - 1;
        // The curves have steps of their own: where one has none, its last one before counts.
        while (at > 0 && column[at] === undefined) at -= 1;
        line.output.textContent = number(column[at]);
      });
    }
    onKey(event) {
      const step = { ArrowLeft: [-0.2, 1], ArrowRight: [0.2, 1], "+": [0, 0.5], "=": [0, 0.5], "-": [0, 2] }[event.key];
      if (event.key === "0" || event.key === "Home") this.options.zoom(null);
      else if (step) zoomBy(this.options, this.span(), ...step);
      else return;
      event.preventDefault();
    }
  }

  function zoomBy(options, whole, shift, factor) {
    const [low, high] = options.view() ?? whole;
    const width = (high - low) * factor;
    const start = (low + high - width) / 2 + shift * (high - low);
    const left = Math.max(whole[0], Math.min(start, whole[1] - width));
    options.zoom(width >= whole[1] - whole[0] ? null : [left, left + width]);
  }

  function redrawAll() { for (const chart of [...drawn]) chart.redraw(); }

  /** Legend as buttons that hide and show their curve. */
  function keys(chart) {
    const list = make("ul", { className: "keys" });
    for (const curve of chart.curves) {
      curve.output = make("output", { textContent: number(curve.y[curve.y.length - 1]) });
      const swatch = make("span", { className: `swatch${curve.dash ? " dashed" : ""}` });
      swatch.style.setProperty("--swatch", `var(--hue-${curve.hue})`);
      const button = make("button", { type: "button" }, swatch, make("span", { textContent: curve.label }), curve.output);
      button.setAttribute("aria-pressed", String(curve.shown));
      button.addEventListener("click", () => {
        curve.shown = !curve.shown;
        button.setAttribute("aria-pressed", String(curve.shown));
        chart.redraw();
      });
      list.append(make("li", {}, button));
    }
    return list;
  }

  // ---- metric curves -----------------------------------------------------------------------
  const MAX_SHOWN = 12;
  const curves = { data: null, stage: "", log: false, smooth: 0, view: null, charts: [] };
  const metricOptions = {
    get log() { return curves.log; },
    get smooth() { return curves.smooth; },
    view: () => curves.view,
    zoom: (view) => { curves.view = view; for (const chart of curves.charts) chart.show(view); },
    sync: "curves",
  };
  const baseName = (address) => address.split("[", 1)[0];

  async function unpack(text) {
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    const data = JSON.parse(await new Response(stream).text());
    for (const series of data.series) {
      let step = 0;
      series.x = series.x.map((difference) => (step += difference));
    }
    return data;
  }

  function fillStages() {
    const points = new Map();
    for (const series of curves.data.series) {
      const name = baseName(series.stage);
      points.set(name, (points.get(name) ?? 0) + series.total);
    }
    const select = byId("curve-stage");
    select.replaceChildren(...[...points.keys()].map((name) => make("option", { value: name, textContent: name })));
    if (!points.has(curves.stage)) {
      curves.stage = [...points].reduce((best, one) => (best && best[1] >= one[1] ? best : one), null)?.[0] ?? "";
    }
    select.value = curves.stage;
    byId("no-curves").hidden = points.size > 0;
    byId("counters").hidden = points.size === 0;
    document.querySelector("#curves .tools").hidden = points.size === 0;
  }

  function label(series, several) {
    const cell = series.stage.slice(baseName(series.stage).length);
    const parts = [several.runs && curves.data.runs[series.run], several.cells && (cell || series.stage), series.label];
    return parts.filter(Boolean).join(" ") || series.stage;
  }

  function buildCharts() {
    const mine = curves.data.series.filter((series) => baseName(series.stage) === curves.stage);
    const several = { runs: curves.data.runs.length > 1, cells: new Set(mine.map((s) => s.stage)).size > 1 };
    for (const chart of curves.charts) chart.remove();
    curves.charts = [];
    const places = { charts: [], counters: [], once: [] };
    for (const [name, about] of Object.entries(curves.data.charts)) {
      const found = mine.filter((series) => series.chart === name);
      if (!found.length) continue;
      if (found.every((series) => series.total < 2)) places.once.push(...found.map((one) => single(about, one, several)));
      else places[about.counts ? "counters" : "charts"].push(figure(about, found, several));
    }
    byId("charts").replaceChildren(...places.charts);
    byId("counter-charts").replaceChildren(...places.counters);
    byId("once").replaceChildren(...places.once);
    byId("counters").hidden = !places.counters.length;
  }

  /** What was recorded once is a number, not a curve. */
  function single(about, series, several) {
    const name = several.runs || several.cells || series.label ? `${about.title} ${label(series, several)}` : about.title;
    const value = `${number(series.y[0])}${about.unit ? ` ${about.unit}` : ""}`;
    return make("div", {}, make("dt", { textContent: name, title: about.meaning }), make("dd", { textContent: value }));
  }

  function figure(about, found, several) {
    const title = make("h3", {}, about.title, make("span", { className: "muted", textContent: about.unit ? ` ${about.unit}` : "" }));
    const lead = make("p", { className: "about", textContent: about.meaning, title: about.meaning });
    const host = make("div", { className: "chart", tabIndex: 0, ariaLabel: `${about.title}, ${found.length} curves` });
    const seriesOf = new Map();
    const lines = found.map((series, index) => {
      // One hue a cell, one dash a run; without cells the runs have the hues.
      const key = several.cells ? `${series.stage} ${series.label}` : `${series.run} ${series.label}`;
      if (!seriesOf.has(key)) seriesOf.set(key, seriesOf.size);
      return {
        label: label(series, several), x: series.x, y: series.y, hue: seriesOf.get(key) % NUM_HUES,
        dash: several.cells ? series.run : 0, shown: index < MAX_SHOWN,
      };
    });
    const chart = new Chart(host, lines, metricOptions);
    curves.charts.push(chart);
    return make("div", { className: "curve" }, title, lead, host, keys(chart));
  }

  async function takeCurves(text) {
    if (!("DecompressionStream" in window)) {
      byId("charts").textContent = "This browser is too old to unpack the curves.";
      return;
    }
    curves.data = await unpack(text);
    fillStages();
    buildCharts();
  }

  byId("curve-stage").addEventListener("change", (event) => {
    Object.assign(curves, { stage: event.target.value, view: null });
    buildCharts();
  });
  byId("curve-log").addEventListener("change", (event) => { curves.log = event.target.checked; redrawMetrics(); });
  byId("curve-smooth").addEventListener("input", (event) => {
    curves.smooth = Number(event.target.value);
    byId("curve-smooth-value").textContent = curves.smooth;
    redrawMetrics();
  });
  let pending = 0;
  function redrawMetrics() {
    cancelAnimationFrame(pending);
    pending = requestAnimationFrame(() => { for (const chart of curves.charts) chart.redraw(); });
  }
  const whole = () => {
    const spans = curves.charts.map((chart) => chart.span());
    return spans.length ? [Math.min(...spans.map((s) => s[0])), Math.max(...spans.map((s) => s[1]))] : [0, 1];
  };
  byId("zoom-in").addEventListener("click", () => zoomBy(metricOptions, whole(), 0, 0.5));
  byId("zoom-out").addEventListener("click", () => zoomBy(metricOptions, whole(), 0, 2));
  byId("zoom-reset").addEventListener("click", () => metricOptions.zoom(null));

  // ---- pictures ----------------------------------------------------------------------------
  function prepareAlbum(album) {
    const frames = [...album.querySelectorAll("figure")];
    frames.forEach(prepareFrame);
    if (frames.length < 2) return;
    album.dataset.steps = frames.length;
    const slider = make("input", { type: "range", min: 0, max: frames.length - 1, value: frames.length - 1 });
    const said = make("output", { textContent: `step ${frames.at(-1).dataset.frame}` });
    slider.setAttribute("aria-label", "step");
    slider.addEventListener("input", () => {
      frames.forEach((frame, index) => { frame.hidden = index !== Number(slider.value); });
      said.textContent = `step ${frames[slider.value].dataset.frame}`;
      frames[slider.value].querySelector(".chart")?.chart?.draw();
    });
    album.append(make("div", { className: "steps" }, make("span", { textContent: "Step" }), slider, said));
  }

  function prepareFrame(frame) {
    const host = frame.querySelector(".chart[data-chart]");
    if (host) prepareLines(frame, host);
    const heat = frame.querySelector("img[data-cells]");
    if (heat) prepareHeat(frame, heat);
  }

  function prepareLines(frame, host) {
    const said = JSON.parse(host.dataset.chart);
    const state = { view: null };
    const options = {
      log: false, smooth: 0, view: () => state.view,
      zoom: (view) => { state.view = view; chart.show(view); },
    };
    const lines = Object.entries(said.ys).map(([name, y], index) => ({
      label: name, x: said.x, y, hue: index % NUM_HUES, dash: 0, shown: index < MAX_SHOWN,
    }));
    const chart = new Chart(host, lines, options);
    const log = make("input", { type: "checkbox" });
    log.addEventListener("change", () => { options.log = log.checked; chart.redraw(); });
    const tools = make("div", { className: "steps" }, make("label", {}, log, " log scale"),
      make("span", { className: "muted", textContent: `${said.yLabel} over ${said.xLabel}` }));
    host.before(tools);
    host.after(keys(chart));
  }

  function prepareHeat(frame, image) {
    const cells = JSON.parse(image.dataset.cells);
    const said = frame.querySelector(".scale output");
    if (!cells) return;
    const numColumns = cells.columns.length;
    image.addEventListener("pointermove", (event) => {
      const box = image.getBoundingClientRect();
      const row = Math.floor(((event.clientY - box.top) / box.height) * cells.rows.length);
      const column = Math.floor(((event.clientX - box.left) / box.width) * numColumns);
      const value = cells.values[row * numColumns + column];
      if (value !== undefined) said.textContent = `${cells.rows[row]} × ${cells.columns[column]}: ${number(value)}`;
    });
    image.addEventListener("pointerleave", () => { said.textContent = ""; });
  }

  // ---- sections ----------------------------------------------------------------------------
  const links = new Map([...document.querySelectorAll("nav a")].map((link) => [link.hash.slice(1), link]));
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      for (const link of links.values()) link.removeAttribute("aria-current");
      links.get(entry.target.id)?.setAttribute("aria-current", "true");
    }
  }, { rootMargin: "-18% 0px -76% 0px" });
  document.querySelectorAll("main > section").forEach((section) => seen.observe(section));

  function preparePart(body) {
    if (body.dataset.part === "pictures") body.querySelectorAll(".album").forEach(prepareAlbum);
  }

  // ---- live --------------------------------------------------------------------------------
  const POLL_MILLISECONDS = 2000;
  const known = {};
  for (const part of document.querySelectorAll("[data-digest]")) known[part.dataset.part] = part.dataset.digest;
  async function getText(path) {
    const answer = await fetch(path, { cache: "no-store" });
    if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
    return answer.text();
  }

  async function takePart(name) {
    const text = await getText(`part/${encodeURIComponent(name)}`);
    if (name === "curve-data") return takeCurves(text);
    const body = document.querySelector(`.body[data-part="${CSS.escape(name)}"]`);
    if (!body) return undefined;
    const open = new Set([...body.querySelectorAll("details[open]")].map((one) => one.dataset.key));
    body.querySelectorAll(".chart").forEach((host) => host.chart?.remove());
    body.innerHTML = text; // rendered and escaped by the server, as the page itself was
    body.querySelectorAll("details").forEach((one) => { one.open = open.has(one.dataset.key); });
    return preparePart(body);
  }

  async function poll() {
    const light = document.querySelector(".live");
    let goesOn = true;
    try {
      const state = JSON.parse(await getText("state"));
      for (const [name, digest] of Object.entries(state.parts)) {
        if (known[name] !== digest) await takePart(name);
        known[name] = digest;
      }
      goesOn = state.running;
      light.dataset.on = goesOn ? "yes" : "no";
      light.textContent = goesOn ? "live" : "ended";
    } catch {
      light.dataset.on = "lost";
      light.textContent = "no answer";
    }
    if (goesOn) setTimeout(poll, POLL_MILLISECONDS);
  }

  // ---- begin -------------------------------------------------------------------------------
  setTheme(THEMES.includes(recall("pipeline-report-theme")) ? recall("pipeline-report-theme") : "system");
  document.querySelectorAll(".body").forEach(preparePart);
  takeCurves(byId("curve-data").textContent).then(() => {
    document.documentElement.dataset.ready = "yes";
    if ("live" in document.body.dataset) poll();
  });
})();
