"use strict";
// Everything that a run folder holds arrives as JSON and is written with textContent.
const $ = (selector, root = document) => root.querySelector(selector);
const parsed = id => { const e = document.getElementById(id); return e ? JSON.parse(e.textContent) : null; };
const report = parsed("report-data");
const dark = matchMedia("(prefers-color-scheme: dark)");
const css = name => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();

// ---- plotly, unpacked once ------------------------------------------------------------------
let plotlyReady = null;
function plotly() {
  plotlyReady ??= (async () => {
    const packed = Uint8Array.from(atob($("#plotly-source").textContent.trim()), c => c.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.textContent = await new Response(stream).text();
    document.head.append(script);
    return window.Plotly;
  })();
  return plotlyReady;
}
function coloured(value) {
  if (typeof value === "string") return value.startsWith("@") ? css(value.slice(1)) : value;
  if (Array.isArray(value)) return value.length && typeof value[0] === "object" ? value.map(coloured) : value;
  if (value && typeof value === "object")
    return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, coloured(v)]));
  return value;
}
// Plotly reads a few tags in names.
const plain = text => text.replace(/[<>&]/g, c => `&#${c.charCodeAt(0)};`);
async function draw(element, figure) {
  const library = await plotly(), shown = coloured(figure);
  await library.react(element, shown.data, shown.layout, {
    responsive: true, displayModeBar: false,
  });
}
async function drawCharts() {
  for (const [index, figure] of report.charts.entries()) {
    await draw(document.getElementById("chart-" + index), figure);
    await new Promise(resolve => setTimeout(resolve));
  }
  document.body.dataset.charts = "drawn";
}

// ---- what the screen shows of one snapshot --------------------------------------------------
const screen_ = $("#screen");
let token = 0, onReady = null, stopReel = null;

let page = null;
function scenePage(data) {
  // viser's page stands in the report once; a recording is put where viser itself puts it.
  page ??= parsed("viser-page");
  const style = `:root{--mantine-color-blue-filled:${css("accent")}!important;--mantine-primary-color-filled:${css("accent")}!important}` +
    `:root{--mantine-color-body:${css("card")}!important}html,body{background:transparent!important}` +
    `.mantine-Paper-root:has(>.mantine-Slider-root){background:${css("card")}!important;border-color:${css("line")}!important}` +
    `canvas[data-engine]{background:linear-gradient(${css("sky-0")},${css("sky-1")} 42%,${css("floor")})}` +
    `.mantine-Notifications-root,.mantine-Paper-root:has(>.mantine-Slider-root)>button:last-child{display:none!important}`;
  const ready = `addEventListener("DOMContentLoaded",()=>{const t=setInterval(()=>{` +
    `if(document.querySelector("canvas[data-engine]")&&document.querySelector(".mantine-Slider-root,[class*=Slider-root]")){` +
    `clearInterval(t);setTimeout(()=>parent.postMessage({heredity:${token}},"*"),350)}},60)});`;
  const extra = `<style>${style}</style><script>window.__VISER_EMBED_CONFIG__={darkMode:${dark.matches}};${ready}</` + `script>`;
  const tail = page[1].replace("</head>", () => extra + "</head>");
  return page[0] + data + tail;
}
addEventListener("message", event => {
  if (event.data && event.data.heredity === token && onReady) { const call = onReady; onReady = null; call(); }
});

const showers = {
  scene(payload, done) {
    const frame = document.createElement("iframe");
    frame.title = "Rollout in 3-D";
    frame.srcdoc = scenePage(payload.data);
    screen_.append(frame);
    onReady = () => { frame.classList.add("shown"); done(frame, 300); };
  },
  frames(payload, done) {
    const image = document.createElement("img"), reel = document.createElement("div");
    image.alt = "Rollout";
    // The picture goes on to the edges of the screen in the colour of its corner.
    image.onload = () => {
      image.onload = null;
      const pixel = document.createElement("canvas").getContext("2d");
      pixel.drawImage(image, 0, 0);
      const [r, g, b] = pixel.getImageData(1, 1, 1, 1).data;
      holder.style.background = `rgb(${r},${g},${b})`;
    };
    reel.className = "reel";
    const button = document.createElement("button"), scrub = document.createElement("input");
    scrub.type = "range"; scrub.min = 0; scrub.max = payload.pictures.length - 1; scrub.value = 0;
    scrub.setAttribute("aria-label", "Position in the rollout");
    reel.append(button, scrub);
    const holder = document.createElement("div");
    holder.className = "film";
    holder.append(image, reel);
    screen_.append(holder);
    const times = payload.times;
    let at = 0, clock = 0, last = performance.now(), going = true, request = 0;
    const show = () => {
      image.src = payload.pictures[at]; scrub.value = at;
      scrub.style.setProperty("--at", 100 * at / Math.max(1, payload.pictures.length - 1) + "%");
    };
    const toggle = on => { going = on; last = performance.now(); setIcon(button, on ? "pause" : "play", on ? "Pause" : "Play"); };
    button.onclick = () => toggle(!going);
    scrub.oninput = () => { at = Number(scrub.value); clock = times[at]; toggle(false); show(); };
    const tick = now => {
      request = requestAnimationFrame(tick);
      if (!going) return;
      clock = (clock + Math.max(0, now - last) / 1000) % payload.lasts;
      last = now;
      let next = clock < times[at] ? 0 : at;
      while (next + 1 < times.length && times[next + 1] <= clock) next++;
      if (next !== at) { at = next; show(); }
    };
    toggle(true); show(); request = requestAnimationFrame(tick);
    stopReel = () => cancelAnimationFrame(request);
    done(holder, 0);
  },
  signals(payload, done) {
    const holder = document.createElement("div"), plot = document.createElement("div");
    holder.className = "plot";
    holder.append(plot);
    screen_.append(holder);
    const line = (values, name, index, axis) => ({
      type: "scatter", mode: values.length > 30 ? "lines" : "lines+markers", name, y: values, yaxis: axis, x: values.map((_, i) => i * payload.stride),
      line: { color: "@c" + index % 8, width: 1.8, dash: index < 8 ? "solid" : "dot" } });
    // A reward belongs to the step from its moment to the next, the last one too.
    const earned = payload.rewards.concat(payload.rewards.slice(-1));
    const rewards = line(earned, "reward", payload.series.length, payload.series.length ? "y2" : "y");
    rewards.line.shape = "hv";
    const base = report.layout, axis = base.yaxis, split = payload.series.length > 0;
    const figure = {
      data: payload.series.map((s, i) => line(s.values, plain(s.name), i, "y"))
        .concat([rewards]),
      layout: { ...base, showlegend: true, paper_bgcolor: "@card", plot_bgcolor: "@card",
        xaxis: { ...base.xaxis, title: { text: "steps" }, ...(earned.length <= 12 && payload.stride === 1 ? { dtick: 1 } : {}), anchor: split ? "y2" : "y" },
        yaxis: { ...axis, domain: split ? [0.27, 1] : [0, 1] }, yaxis2: { ...axis, domain: [0, 0.2], nticks: 3 } } };
    holder.style.background = css("card");
    draw(plot, figure).then(() => done(holder, 0));
  },
  none(payload, done) {
    const empty = document.createElement("div");
    empty.className = "empty";
    empty.textContent = payload.cut || "No rollout was recorded in this snapshot.";
    screen_.append(empty);
    done(empty, 0);
  },
};

function project(index, finished) {
  const own = ++token, before = [...screen_.children].filter(e => !e.matches(".pill,.busy,.story"));
  const payload = parsed("rollout-" + index) || { kind: "none" };
  const busy = $("#busy");
  busy.classList.add("on");
  screen_.dataset.ready = "";
  // Abandoned drafts go at once; the picture that is seen stays until the next one is there.
  for (const element of before) if (element.matches("iframe:not(.shown)")) element.remove();
  const done = (element, later) => {
    if (own !== token) { element.remove(); return; }
    busy.classList.remove("on");
    $("#cut").textContent = payload.cut || "";
    $("#turn").hidden = payload.kind !== "scene";
    lasts = payload.lasts || 4;
    $("#episode").textContent = payload.episode || "";
    $("#episode-detail").textContent = payload.episode_detail || "";
    $("#episode-fact").hidden = !payload.episode;
    setTimeout(() => before.forEach(e => e.remove()), later);
    setTimeout(() => { if (own === token) screen_.dataset.ready = String(index); }, later);
    finished?.();
  };
  onReady = null; stopReel?.(); stopReel = null;
  (showers[payload.kind] || showers.none)(payload, done);
}

// ---- what the world model of one snapshot imagined ------------------------------------------
const TALLEST = 150, WIDEST = 110;
function made(tag, name, text, parent) {
  const element = document.createElement(tag);
  if (name) element.className = name;
  if (text !== null) element.textContent = text;
  parent?.append(element);
  return element;
}
function strip(one, found, parent) {
  const [width, height] = one.shape, moments = found.moments, seen = moments.filter(m => m < found.context).length;
  const most = Math.min(WIDEST, Math.max(16, Math.round(TALLEST * width / height)));
  const frame = made("div", "scroll", null, parent), grid = made("div", "strip" + (one.crisp ? " crisp" : ""), null, frame);
  grid.style.gridTemplateColumns = `auto repeat(${moments.length},minmax(30px,${Math.max(30, most)}px))`;
  const head = (text, from, to, name) => {
    made("span", name, text, grid).style.cssText = `grid-row:1;grid-column:${from + 2}/${to + 2}`;
  };
  if (found.strips.length > 1) made("b", "", one.name, grid).style.cssText = "grid-row:1;grid-column:1";
  head("seen", 0, seen, "eyes open");
  head("imagined", seen, moments.length, "eyes");
  made("span", "row", "moment", grid).style.gridRow = 2;
  moments.forEach((m, i) => { made("span", "moment", String(m), grid).style.cssText = `grid-row:2;grid-column:${i + 2}`; });
  one.rows.forEach((row, r) => {
    made("span", "row", row.name, grid).style.cssText = `grid-row:${r + 3};grid-column:1`;
    row.pictures.forEach((address, i) => {
      const image = made("img", i === seen ? "first" : "", null, grid);
      image.src = address; image.alt = `${row.name}, moment ${moments[i]}`; image.title = image.alt;
      image.style.cssText = `grid-row:${r + 3};grid-column:${i + 2};aspect-ratio:${width}/${height}`;
    });
  });
  made("p", "legend", one.told, parent);
}
async function dream(index) {
  if (!$("#dream")) return;
  const found = parsed("imagined-" + index) || { told: "nothing was imagined in this snapshot", strips: [], figures: [] };
  $("#dream-step").textContent = shots[index].step_text;
  $("#dream-told").textContent = found.told;
  for (const button of document.querySelectorAll("#dream button"))
    button.disabled = index === (button.id === "dream-before" ? 0 : shots.length - 1);
  const strips = $("#dream-strips"), charts = $("#dream-charts");
  strips.replaceChildren();
  for (const one of found.strips) strip(one, found, strips);
  while (charts.children.length > found.figures.length) charts.lastChild.remove();
  while (charts.children.length < found.figures.length) {
    const card = made("article", "", null, charts);
    made("h3", "", "", card); made("p", "", "", card); made("div", "plot", null, card);
  }
  // All of them before the first is drawn: a figure is as wide as its card is then.
  for (const [i, one] of found.figures.entries()) {
    const card = charts.children[i];
    card.className = "card chart" + (one.wide ? " wide" : "");
    $("h3", card).textContent = one.title;
    $("p", card).textContent = one.detail;
    $(".plot", card).style.height = one.height ? one.height + "px" : "";
  }
  for (const [i, one] of found.figures.entries()) {
    await draw($(".plot", charts.children[i]), one.figure);
    if (index !== now) return;
  }
  document.body.dataset.dream = String(index);
}

// ---- the timeline ---------------------------------------------------------------------------
const icons = {
  play: "M4 2.5v11l9-5.5z", pause: "M3.5 2.5h3v11h-3zM9.5 2.5h3v11h-3z",
};
function setIcon(button, name, label, text = "") {
  button.innerHTML = `<svg viewBox="0 0 16 16" aria-hidden="true"><path d="${icons[name]}"/></svg>`;
  if (text) button.append(text);
  button.setAttribute("aria-label", label);
}
const shots = report.snapshots;
let now = -1, playing = false, timer = 0, draft = 0, lasts = 4;
// A short episode is seen to its end; the whole way takes about a minute.
const SHORTEST = 2.5, LONGEST = 5, WHOLE = 60;
const STORY = "Watch it learn";

function told(index) {
  const shot = shots[index];
  $("#step").textContent = shot.step_text;
  $("#score").textContent = shot.mean_text;
  $("#spread").textContent = shot.spread_text;
  $("#episodes").textContent = shot.episodes_text;
  const hash = $("#hash");
  hash.textContent = shot.short_hash || "—";
  hash.title = shot.hash;
  $("#where").textContent = `${index + 1} of ${shots.length}`;
  const slider = $("#slider");
  slider.value = index;
  slider.setAttribute("aria-valuetext", `step ${shot.step_text}, return ${shot.mean_text}`);
  slider.style.setProperty("--at", 100 * index / Math.max(1, shots.length - 1) + "%");
  mark(index);
  if (!playing) idle();
}
function go(index, wait = 0) {
  index = Math.max(0, Math.min(shots.length - 1, index));
  if (index === now) return;
  now = index;
  clearTimeout(timer);
  told(index);
  clearTimeout(draft);
  draft = setTimeout(() => { project(index, () => { if (playing) arm(); }); dream(index); }, wait);
}
function arm() {
  clearTimeout(timer);
  const most = Math.min(LONGEST, Math.max(SHORTEST, WHOLE / shots.length));
  const seconds = Math.min(Math.max(SHORTEST, lasts), most);
  timer = setTimeout(() => { if (now + 1 < shots.length) go(now + 1); else play(false); }, seconds * 1000);
}
function idle() {
  const whole = now <= 0 || now === shots.length - 1;
  setIcon($("#play"), "play", whole ? STORY + ", from the first snapshot on" : "Play on from this snapshot", whole ? STORY : "Play on");
}
function play(on) {
  playing = on;
  $("#story").hidden = true;
  if (on) setIcon($("#play"), "pause", "Pause", "Pause"); else idle();
  clearTimeout(timer);
  if (!on) return;
  if (now === shots.length - 1) go(0); else arm();
}

// ---- the small curve under the screen -------------------------------------------------------
const EDGE = 9, HEIGHT = 72;
let placeOf = () => [0, 0];
function svg(name, attributes, parent) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  parent?.append(element);
  return element;
}
function curve() {
  const canvas = $("#curve"), width = canvas.clientWidth;
  canvas.replaceChildren();
  canvas.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
  const known = shots.map((s, i) => [i, s.mean, s.std || 0]).filter(s => s[1] !== null);
  const low = Math.min(...known.map(s => s[1] - s[2])), high = Math.max(...known.map(s => s[1] + s[2]));
  const x = i => shots.length > 1 ? EDGE + i / (shots.length - 1) * (width - 2 * EDGE) : width / 2;
  const y = v => high > low ? 63 - (v - low) / (high - low) * 54 : 36;
  placeOf = i => [x(i), shots[i].mean === null ? 63 : y(shots[i].mean)];
  if (known.length > 1) {
    const upper = known.map(s => `${x(s[0])},${y(s[1] + s[2])}`), lower = known.map(s => `${x(s[0])},${y(s[1] - s[2])}`);
    svg("path", { class: "area", d: "M" + upper.join("L") + "L" + lower.reverse().join("L") + "Z" }, canvas);
    svg("path", { class: "curve", d: "M" + known.map(s => `${x(s[0])},${y(s[1])}`).join("L") }, canvas);
  }
  for (const s of known) svg("circle", { class: "dot", cx: x(s[0]), cy: y(s[1]), r: 3 }, canvas);
  svg("line", { class: "now", y1: 2, y2: HEIGHT }, canvas);
  svg("circle", { class: "here", r: 7 }, canvas);
  if (now >= 0) mark(now);
}
function mark(index) {
  const [x, y] = placeOf(index), line = $("#curve .now"), dot = $("#curve .here");
  if (!line) return;
  line.setAttribute("x1", x); line.setAttribute("x2", x);
  dot.setAttribute("cx", x); dot.setAttribute("cy", y);
}
function nearest(event) {
  const box = $("#curve").getBoundingClientRect();
  return Math.round((event.clientX - box.left - EDGE) / Math.max(1, box.width - 2 * EDGE) * (shots.length - 1));
}

// ---- start ----------------------------------------------------------------------------------
if (shots.length) {
  // While a finger drags, the numbers follow at once and the picture when it rests.
  $("#slider").addEventListener("input", e => { play(false); go(Number(e.target.value), 160); });
  $("#before").onclick = () => { play(false); go(now - 1); };
  $("#after").onclick = () => { play(false); go(now + 1); };
  $("#play").onclick = () => play(!playing);
  if ($("#dream")) {
    $("#dream-before").onclick = $("#before").onclick;
    $("#dream-after").onclick = $("#after").onclick;
    if (shots.length < 2) $("#dream .buttons").remove();
  }
  let dragged = false;
  $("#curve").addEventListener("pointerdown", e => { dragged = true; play(false); go(nearest(e), 160); });
  addEventListener("pointermove", e => { if (dragged) go(nearest(e), 160); });
  addEventListener("pointerup", () => { dragged = false; });
  addEventListener("keydown", e => {
    if (e.altKey || e.ctrlKey || e.metaKey || e.target.closest?.("input:not(#slider),.plot")) return;
    const moves = { ArrowLeft: now - 1, ArrowRight: now + 1, Home: 0, End: shots.length - 1 };
    if (e.key in moves) { e.preventDefault(); play(false); go(moves[e.key]); }
    if (e.key === " " && !e.target.closest?.("button,summary,a")) { e.preventDefault(); play(!playing); }
  });
  for (const button of document.querySelectorAll("button[data-show]")) button.onclick = () => {
    play(false); go(Number(button.dataset.show));
    $("#timeline").scrollIntoView({ block: "start" });
  };
  new ResizeObserver(curve).observe($("#curve"));
  curve();
  play(false);
  go(report.start);
  const story = $("#story");
  setIcon(story, "play", STORY + ", from the first snapshot on", STORY);
  // Over a plot it would cover what is to be read.
  const seen = (parsed("rollout-" + report.start) || {}).kind;
  story.hidden = shots.length < 2 || (seen !== "scene" && seen !== "frames");
  story.onclick = () => play(true);
  $("#timeline").classList.toggle("single", shots.length < 2);
}
dark.addEventListener("change", () => { if (now >= 0) { project(now); dream(now); } drawCharts(); });
drawCharts();
