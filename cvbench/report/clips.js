// Shows pictured samples: reconstructions side by side, one frame slider, one wipe, one difference switch for all.

const galleries = JSON.parse(document.getElementById("clip-data").textContent);
const at = (id) => document.getElementById(id);
const SIDE_BY_SIDE = 3;
const PLAY_MS = 300;
const chosen = new Set();
let timer = null;

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

const gallery = () => galleries[at("gallery").value];
const clip = () => gallery().clips[at("clip").value];
const frame = () => Number(at("frame").value);

function option({ id }, index) {
  const marks = gallery().cards.filter((card) => card.clip === index && !card.kind.startsWith("nearest"));
  const said = marks.slice(0, 2).map(({ kind, model }) => `${kind} of ${model}`).join(", ");
  const more = marks.length > 2 ? `, ${marks.length - 2} more` : "";
  return make("option", { value: index, textContent: said ? `${id} (${said}${more})` : id });
}

function openGallery() {
  at("clip").replaceChildren(...gallery().clips.map(option));
  at("cards").replaceChildren(...gallery().cards.map(card));
  const names = [...new Set(gallery().clips.flatMap(({ models }) => models.map(({ name }) => name)))];
  const moving = gallery().clips.findIndex(({ total }) => total > 1);
  at("clip").value = Math.max(0, moving);
  if (!names.some((name) => chosen.has(name))) names.slice(0, SIDE_BY_SIDE).forEach((name) => chosen.add(name));
  at("models").replaceChildren(at("models").firstElementChild, ...names.map(checkbox));
  openClip();
}

function checkbox(name) {
  const box = make("input", { type: "checkbox", value: name, checked: chosen.has(name) });
  box.addEventListener("change", () => {
    if (box.checked) chosen.add(name);
    else chosen.delete(name);
    panels();
  });
  return make("label", {}, box, name);
}

function card({ model, kind, clip: index, id, score, place }) {
  const { models } = gallery().clips[index];
  const { pictures } = models.find(({ name }) => name === model);
  const picture = make("img", { src: pictures[pictures.length >> 1], alt: "" });
  const lines = [make("b", { textContent: model }), `${kind}: ${id}`, make("span", { textContent: `${score}, ${place}` })];
  const button = make("button", { type: "button" }, picture, ...lines);
  button.addEventListener("click", () => {
    chosen.add(model);
    for (const box of at("models").querySelectorAll("input")) box.checked = chosen.has(box.value);
    at("clip").value = index;
    openClip();
    at("clips").scrollIntoView();
    at("clip").focus({ preventScroll: true });
  });
  return make("li", {}, button);
}

function openClip() {
  stop();
  const { frames, total, height, width, scale, models } = clip();
  at("frame").max = frames.length - 1;
  at("frame").value = frames.length >> 1;
  at("scrubber").hidden = frames.length < 2;
  const size = scale > 1 ? `${width} × ${height} averaged down by ${scale}` : `${width} × ${height}`;
  at("shown").textContent = `${size}, ${total > 1 ? `${frames.length} of ${total} frames` : "one image"}, lossless.`;
  const here = new Set(models.map(({ name }) => name));
  for (const box of at("models").querySelectorAll("input")) {
    box.disabled = !here.has(box.value);
    box.parentElement.title = box.disabled ? "not stored for this sample" : "";
  }
  panels();
}

// What is shown stands in the address, so that a link leads to it.

function remember() {
  const state = new URLSearchParams({ data: gallery().label, sample: clip().id });
  for (const name of chosen) state.append("model", name);
  history.replaceState(null, "", `#clips?${state}`);
}

function recall() {
  const [place, text] = location.hash.split("?");
  if (place !== "#clips" || !text) return;
  const state = new URLSearchParams(text);
  const data = galleries.findIndex(({ label }) => label === state.get("data"));
  if (data < 0) return;
  at("gallery").value = data;
  for (const name of state.getAll("model")) chosen.add(name);
  openGallery();
  const sample = gallery().clips.findIndex(({ id }) => id === state.get("sample"));
  if (sample >= 0) at("clip").value = sample;
  openClip();
  at("clips").scrollIntoView();
}

async function share() {
  remember();
  try {
    await navigator.clipboard.writeText(location.href);
    at("shared").textContent = "copied";
  } catch {
    at("shared").textContent = "the link stands in the address bar";
  }
}

function panels() {
  const shown = clip().models.filter(({ name }) => chosen.has(name));
  const made = shown.length ? shown.map(panel) : [make("p", { textContent: "Choose a model above." })];
  at("panels").replaceChildren(...made);
  showFrame();
}

function panel({ name, latents }) {
  const { width, height, sides } = clip();
  const layers = make("div", { className: "layers" }, make("img", { width, height }), make("img", { width, height }));
  const tags = sides.map((text) => make("span", { className: "tag", textContent: text }));
  const divider = make("div", { className: "divider" });
  const stack = make("div", { className: "stack" }, layers, divider, ...tags);
  stack.addEventListener("pointerdown", drag);
  stack.addEventListener("pointermove", drag);
  const caption = make("figcaption", {}, make("b", { textContent: name }), make("span"));
  const figure = make("figure", {}, stack, caption);
  figure.dataset.model = name;
  if (latents) figure.append(make("img", { className: "latents", src: latents, alt: `latents of ${name} as colours, in order of time` }));
  return figure;
}

function drag(event) {
  if (!(event.buttons & 1)) return;
  const box = event.currentTarget.getBoundingClientRect();
  at("wipe").value = (100 * (event.clientX - box.left)) / box.width;
  showWipe();
}

function showFrame() {
  const { id, frames, total, target, models, sides } = clip();
  const now = frames[frame()];
  for (const figure of at("panels").querySelectorAll("figure")) {
    const model = models.find(({ name }) => name === figure.dataset.model);
    const [below, above] = figure.querySelectorAll(".layers img");
    Object.assign(below, { src: target[frame()], alt: `${sides[0]} ${id}, frame ${now}` });
    Object.assign(above, { src: model.pictures[frame()], alt: `${sides[1]} by ${model.name}, frame ${now}` });
    figure.querySelector("figcaption span").textContent = model.scores[frame()];
  }
  at("frame-text").textContent = `${now} / ${total - 1}`;
  at("frame").setAttribute("aria-valuetext", `frame ${now} of 0 to ${total - 1}`);
}

function showWipe() {
  at("panels").style.setProperty("--wipe", `${at("wipe").value}%`);
}

function showDifference() {
  const on = at("difference").checked;
  const gain = Number(at("gain").value);
  const row = `${gain / 3} ${gain / 3} ${gain / 3} 0 0`;
  at("heat-gain").setAttribute("values", `${row} ${row} ${row} 0 0 0 0 1`);
  at("panels").classList.toggle("difference", on);
  at("wipe").disabled = on;
  at("gain").disabled = !on;
  at("scale").hidden = !on;
  at("scale-text").textContent = `mean absolute difference of the three channels: 0 to ${Math.round(255 / gain)} of 255 and more`;
}

function stop() {
  clearInterval(timer);
  timer = null;
  at("play").setAttribute("aria-pressed", "false");
  at("play").textContent = "Play";
}

function play() {
  if (timer !== null) return stop();
  at("play").setAttribute("aria-pressed", "true");
  at("play").textContent = "Pause";
  timer = setInterval(() => {
    at("frame").value = (frame() + 1) % clip().frames.length;
    showFrame();
  }, PLAY_MS);
}

function step(by) {
  const count = gallery().clips.length;
  at("clip").value = (Number(at("clip").value) + by + count) % count;
  openClip();
}

if (galleries.length) {
  at("gallery").addEventListener("change", openGallery);
  at("share").addEventListener("click", share);
  at("clip").addEventListener("change", openClip);
  at("previous").addEventListener("click", () => step(-1));
  at("next").addEventListener("click", () => step(1));
  at("frame").addEventListener("input", () => { stop(); showFrame(); });
  at("wipe").addEventListener("input", showWipe);
  at("difference").addEventListener("change", showDifference);
  at("gain").addEventListener("change", showDifference);
  at("play").addEventListener("click", play);
  addEventListener("hashchange", recall);
  openGallery();
  recall();
  showWipe();
  showDifference();
}
