// The page of `fer-jax serve`: asks the API beside it and shows what it says. Text is set as text, never as HTML.
"use strict";

const $ = (id) => document.getElementById(id);
const SHOWN = 6; // classes with a bar
const FRAME = 480; // longer side of a camera's frame as it is sent: faces are searched at this size
const BURST_EVERY = 250; // milliseconds between the pictures of a burst
const OPEN = new Set(["Data", "Limits", "Intended use", "Ethics"]); // parts of the card

const state = {
  model: "first", // key of the model in use
  info: null, // its description
  models: [],
  shots: [], // pictures on the strip: { blob, bitmap }
  shot: null, // the one that is shown
  answer: null, // to it
  face: 0, // whose answer is shown
  all: false, // whether every class has a bar
  stream: null, // of the camera
  starting: null, // a promise, while the camera is being opened
  bursting: false, // whether pictures of it are being collected
  teaching: null, // what GET /teach said last
};

// --- small things ---

function make(tag, properties = {}, ...children) {
  const { data, ...rest } = properties;
  const node = Object.assign(document.createElement(tag), rest);
  Object.assign(node.dataset, data ?? {});
  node.append(...children);
  return node;
}

const percent = (share, digits = 0) => `${(100 * share).toFixed(digits)} %`;
const wait = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));
const count = (n, one, many = `${one}s`) => `${n} ${n === 1 ? one : many}`;

const GONE = "that model is not there any more; another one is in use now";

// The key of the model that waits to be accepted, or null.
const draft = () => (state.teaching?.state === "done" ? state.teaching.key : null);

// Replaces a list's items; if one of them has the focus, the item in its place has it then.
function redraw(list, items) {
  const at = [...list.children].findIndex((item) => item.contains(document.activeElement));
  list.replaceChildren(...items);
  if (at >= 0 && items.length) focusOn(items[Math.min(at, items.length - 1)]);
}

function focusOn(item) {
  const button = item.matches("button") ? item : item.querySelector("button");
  (button ?? item).focus();
}

// A button that cannot be used now keeps the focus, and says why when it is pressed.
const block = (id, blocked) => $(id).setAttribute("aria-disabled", String(blocked));

function say(where, text, problem = false) {
  const node = $(where);
  if (node.textContent !== text) node.textContent = text;
  node.classList.toggle("problem", problem);
}

class Failure extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

async function api(method, path, { query = {}, body, type } = {}) {
  const asked = new URLSearchParams(query).toString();
  let reply;
  try {
    reply = await fetch(asked ? `${path}?${asked}` : path, { method, body, headers: type ? { "Content-Type": type } : {} });
  } catch {
    offline("The server does not answer. Start fer-jax serve again, and open its new link.");
    throw new Failure("the server does not answer", 0);
  }
  const told = await reply.json().catch(() => ({ error: `the server answers ${reply.status}` }));
  if (reply.status === 401) offline(`This page was closed by the server: ${told.error}.`);
  if (!reply.ok) throw new Failure(told.error, reply.status);
  return told;
}

function offline(text) {
  $("offline").textContent = text;
  $("offline").hidden = false;
}

async function send(path, blob, query = {}) {
  const type = blob.type.startsWith("image/") ? blob.type : "image/unknown";
  try {
    return await api("POST", path, { query: { model: state.model, ...query }, body: blob, type });
  } catch (error) {
    if (error.status !== 404) throw error;
    await catchUp();
    throw new Failure(GONE, 404);
  }
}

// --- models and cards ---

async function readModels() {
  const told = await api("GET", "/models");
  state.models = told.models;
  if (draft()) {
    state.models.push({ key: draft(), name: `+ ${state.teaching.class} (not saved)`, made_from: state.teaching.model });
  }
  if (!state.models.some((one) => one.key === state.model)) state.model = told.first;
  showModels();
}

// Another page of this browser may have taught, accepted or discarded, and a folder may have been removed.
async function catchUp() {
  const before = state.teaching ?? {};
  state.teaching = await api("GET", "/teach");
  if (state.teaching.key === before.key && state.teaching.state === before.state) {
    const { model } = state;
    await readModels();
    if (state.model !== model) await use(state.model);
    return;
  }
  $("result").hidden = true;
  await readCollected();
  await follow();
  if (!draft()) {
    await readModels();
    await use(state.model);
  }
}

async function use(key) {
  state.model = key;
  const info = await api("GET", "/model", { query: { model: key } });
  if (state.model !== key) return; // another one was taken meanwhile
  state.info = info;
  hideMap(); // it was another model's
  showModels();
  showInfo();
  await showExemplars();
  await look();
}

async function choose(key) {
  try {
    await use(key);
  } catch (error) {
    if (error.status !== 404) throw error;
    await catchUp();
    throw new Failure(GONE, 404);
  }
  say("models-said", `In use: ${path(state.models.find((one) => one.key === state.model))}.`);
}

const depth = (one) => (one?.made_from ? 1 + depth(state.models.find((other) => other.key === one.made_from)) : 0);

function path(one) {
  const before = state.models.find((other) => other.key === one.made_from);
  return before ? `${path(before)} ${one.name}` : one.name;
}

function showModels() {
  $("model").replaceChildren(...state.models.map((one) => make("option", { value: one.key, textContent: path(one), selected: one.key === state.model })));
  redraw($("list"), ordered().map((one) => {
    const now = one.key === state.model;
    const facts = one.accepted
      ? `${count(one.images, "picture")}, accepted ${new Date(one.accepted).toLocaleString()}; known classes ${percent(one.before, 1)} before, ${percent(one.after, 1)} after`
      : one.key === draft() ? "waits to be accepted or discarded" : "as it was trained";
    const item = make("li", { tabIndex: -1 }, make("span", {}, make("span", { className: "name", textContent: one.name }), make("br"), make("span", { className: "soft small", textContent: facts })));
    item.style.setProperty("--depth", depth(one));
    if (now) {
      item.setAttribute("aria-current", "true");
      item.append(make("span", { className: "soft", textContent: "in use" }));
    } else {
      const button = make("button", { type: "button", textContent: "Use", data: { key: one.key } });
      button.setAttribute("aria-label", `Use ${path(one)}`);
      item.append(button);
    }
    return item;
  }));
}

function ordered(from = null) {
  return state.models.filter((one) => one.made_from === from).flatMap((one) => [one, ...ordered(one.key)]);
}

function showInfo() {
  const info = state.info;
  $("learned-from").replaceChildren(...(info.notice ? [make("p", { textContent: `${info.notice[0].toUpperCase()}${info.notice.slice(1)}.` })] : rendered(info.card.Data)));
  $("not-for").replaceChildren(...rendered(info.card["Intended use"]));
  say("calibrated", `Probabilities: ${info.calibrated}.`);
  const chosen = $("map-class").value;
  $("map-class").replaceChildren(
    make("option", { value: "", textContent: "the likeliest" }),
    ...info.classes.map((one) => make("option", { value: one.name, textContent: one.name, selected: one.name === chosen })),
  );
  $("sections").replaceChildren(...Object.entries(info.card).filter(([title]) => title !== "Use")
    .map(([title, text]) => make("details", { open: OPEN.has(title) }, make("summary", { textContent: title }), ...rendered(text))));
  buildGrid();
  pressClass();
}

// The card's Markdown as nodes: paragraphs, lists, tables, and within them bold, italic, code and links.
function rendered(text) {
  return text.split(/\n{2,}/).map((block) => block.trim()).filter(Boolean).map((block) => {
    const lines = block.split("\n");
    if (block.startsWith("- ")) {
      return make("ul", {}, ...block.slice(2).split(/\n- /).map((item) => make("li", {}, ...inline(item))));
    }
    if (lines.length > 2 && block.startsWith("|")) {
      const [head, , ...rows] = lines.map((line) => line.replace(/^\||\|$/g, "").split("|").map((cell) => cell.trim()));
      return make("table", {},
        make("thead", {}, make("tr", {}, ...head.map((cell) => make("th", { scope: "col" }, ...inline(cell))))),
        make("tbody", {}, ...rows.map((row) => make("tr", {}, ...row.map((cell) => make("td", {}, ...inline(cell)))))));
    }
    return make("p", {}, ...inline(block));
  });
}

function inline(text) {
  const parts = text.replace(/\n/g, " ").split(/(\*\*[^*]+\*\*|\*[^*]+\*|`[^`]+`|\[[^\]]+\]\([^)\s]+\))/);
  return parts.filter(Boolean).map((part) => {
    const link = part.match(/^\[([^\]]+)\]\((https:[^)\s]+)\)$/);
    if (link) return make("a", { href: link[2], textContent: link[1], rel: "noreferrer", target: "_blank" });
    if (/^\*\*.+\*\*$/.test(part)) return make("strong", { textContent: part.slice(2, -2) });
    if (/^\*.+\*$/.test(part)) return make("em", { textContent: part.slice(1, -1) });
    if (/^`.+`$/.test(part)) return make("code", { textContent: part.slice(1, -1) });
    return part;
  });
}

// --- pictures ---

async function addFiles(files) {
  if (!files.length) return;
  stopCamera();
  const added = [];
  for (const blob of files) {
    let bitmap = null;
    try {
      bitmap = await createImageBitmap(blob);
    } catch { /* a format that the server may still read */ }
    added.push({ blob, bitmap });
  }
  state.shots = added;
  showStrip();
  await show(added[0]);
}

function showStrip() {
  $("strip").hidden = state.shots.length < 2;
  redraw($("strip"), state.shots.map((shot, i) => {
    const small = make("canvas", { width: 96, height: 72 });
    if (shot.bitmap) {
      const scale = Math.max(96 / shot.bitmap.width, 72 / shot.bitmap.height);
      const [w, h] = [shot.bitmap.width * scale, shot.bitmap.height * scale];
      small.getContext("2d").drawImage(shot.bitmap, (96 - w) / 2, (72 - h) / 2, w, h);
    }
    const button = make("button", { type: "button", data: { shot: i } }, small);
    button.setAttribute("aria-label", `Picture ${i + 1}`);
    button.setAttribute("aria-pressed", String(shot === state.shot));
    return make("li", {}, button);
  }));
}

async function show(shot) {
  Object.assign(state, { shot, answer: null, face: 0 });
  for (const button of $("strip").querySelectorAll("button")) {
    button.setAttribute("aria-pressed", String(state.shots[button.dataset.shot] === shot));
  }
  hideMap();
  draw();
  await look();
}

// Asks about the picture that is shown.
async function look() {
  const { shot, model } = state;
  if (!shot || state.stream) return;
  say("said", "Looking…");
  try {
    const answer = await send("/predict", shot.blob);
    if (shot !== state.shot || model !== state.model) return;
    state.answer = answer;
    state.face = Math.min(state.face, Math.max(0, answer.faces.length - 1));
    showAnswer();
    say("said", inWords(answer));
  } catch (error) {
    if (shot === state.shot && model === state.model) {
      state.answer = null;
      showAnswer();
      say("said", error.message, true);
    }
  }
}

function inWords(answer) {
  if (!answer.faces.length) return "No face is found in this picture.";
  const best = answer.faces[state.face].classes[0];
  const which = answer.faces.length > 1 ? `${count(answer.faces.length, "face")}; face ${state.face + 1}` : "One face";
  return `${which}: ${best.class}, ${percent(best.probability)}.`;
}

function draw(source = state.shot?.bitmap, answer = state.answer) {
  const view = $("view");
  const [width, height] = answer?.size ?? [source?.width, source?.height];
  view.hidden = !width;
  $("empty").hidden = !view.hidden;
  $("stage").classList.toggle("full", !view.hidden);
  if (!source && state.shot) $("empty").textContent = "This browser cannot show the picture; the answer is beside it.";
  if (view.hidden) return;
  const scale = Math.min(1, 1280 / Math.max(width, height));
  view.width = Math.round(width * scale);
  view.height = Math.round(height * scale);
  const brush = view.getContext("2d");
  if (source) brush.drawImage(source, 0, 0, view.width, view.height);
  view.setAttribute("aria-label", answer ? `Picture. ${inWords(answer)}` : "Picture");
  const line = Math.max(2, view.width / 220);
  answer?.faces.forEach((face, i) => {
    const [left, top, side] = face.square.map((x) => x * scale);
    brush.lineWidth = line;
    brush.strokeStyle = i === state.face ? "#ffd166" : "#ffffffcc";
    brush.strokeRect(left, top, side, side);
    const best = face.classes[0];
    const text = `${answer.faces.length > 1 ? `${i + 1}: ` : ""}${best.class} ${percent(best.probability)}`;
    const size = Math.max(11, view.width / 36);
    brush.font = `600 ${size}px system-ui, sans-serif`;
    const wide = brush.measureText(text).width + size * 0.7;
    const x = Math.max(0, Math.min(left, view.width - wide));
    const y = top > size * 1.6 ? top - size * 1.5 : top;
    brush.fillStyle = "#10141ad0";
    brush.fillRect(x, y, wide, size * 1.5);
    brush.fillStyle = "#fff";
    brush.fillText(text, x + size * 0.35, y + size * 1.1);
  });
}

function showAnswer() {
  const faces = state.answer?.faces ?? [];
  $("faces").hidden = faces.length < 2;
  if ($("faces").childElementCount !== faces.length) {
    redraw($("faces"), faces.map((_, i) => make("button", { type: "button", textContent: `Face ${i + 1}`, data: { face: i } })));
  }
  for (const button of $("faces").children) button.setAttribute("aria-pressed", String(Number(button.dataset.face) === state.face));
  showBars(faces[state.face]?.classes ?? []);
  $("no-answer").hidden = faces.length > 0;
  $("no-answer").textContent = state.answer ? "No face, so there is no answer." : "The likeliest classes of a face will be here.";
  block("show-map", !faces.length);
  shadeGrid(faces[state.face]?.classes ?? []);
  if (!state.stream) draw();
}

function showBars(classes) {
  const rows = classes.slice(0, state.all ? classes.length : SHOWN);
  const bars = $("bars");
  while (bars.childElementCount > rows.length) bars.lastChild.remove();
  while (bars.childElementCount < rows.length) {
    const track = make("span", { className: "track" }, make("span", { className: "fill" }));
    track.setAttribute("aria-hidden", "true");
    bars.append(make("li", {}, make("span", { className: "name" }), track, make("span", { className: "value" })));
  }
  rows.forEach((row, i) => {
    const [name, track, value] = bars.children[i].children;
    name.textContent = row.class;
    track.firstChild.style.width = `${100 * row.probability}%`;
    value.textContent = percent(row.probability);
  });
  $("more").hidden = classes.length <= SHOWN;
  $("more").textContent = state.all ? "Fewer classes" : `All ${classes.length} classes`;
  $("more").setAttribute("aria-expanded", String(state.all));
}

// --- the grid of basic and compound expressions ---

function buildGrid() {
  const base = state.info.classes.filter((one) => one.base).map((one) => one.name);
  const at = new Map();
  const beside = [];
  for (const one of state.info.classes) {
    const pair = one.base ? [one.name, one.name] : one.parents;
    if (!pair) {
      beside.push(one);
      continue;
    }
    const [column, row] = pair.map((name) => base.indexOf(name)).sort((a, b) => a - b);
    const key = `${row},${column}`;
    at.set(key, [...(at.get(key) ?? []), one]);
  }
  const head = make("tr", {}, make("td"), ...base.map((name) => make("th", { scope: "col", textContent: name })));
  const body = base.map((name, row) => make("tr", {}, make("th", { scope: "row", textContent: name }),
    ...base.map((_, column) => make("td", {}, make("div", {}, ...(at.get(`${row},${column}`) ?? []).map(cell))))));
  const focused = document.activeElement?.closest("#made-of .cell")?.dataset.class;
  const caption = make("caption", { textContent: "Shade and number: the probability of each class" });
  $("grid").replaceChildren(caption, make("thead", {}, head), make("tbody", {}, ...body));
  $("others").replaceChildren(...beside.map(cell));
  $("beside").hidden = !beside.length;
  cells().find((one) => one.dataset.class === focused)?.focus();
  shadeGrid(state.answer?.faces[state.face]?.classes ?? []);
}

function cell(one) {
  const button = make("button", { type: "button", className: `cell${one.base ? " base" : ""}`, data: { class: one.name } },
    make("span", { className: "name", textContent: one.name, lang: "en" }), make("span", { className: "share", textContent: "–" }));
  button.setAttribute("aria-pressed", "false");
  return button;
}

const cells = () => [...$("made-of").querySelectorAll(".cell")];

function shadeGrid(classes) {
  const share = new Map(classes.map((row) => [row.class, row.probability]));
  for (const one of cells()) {
    const p = share.get(one.dataset.class);
    one.style.setProperty("--p", Math.sqrt(p ?? 0)); // so that small shares can be told apart
    one.lastChild.textContent = p === undefined ? "–" : percent(p);
  }
}

function pressClass() {
  for (const one of cells()) one.setAttribute("aria-pressed", String(one.dataset.class === $("map-class").value));
}

// --- maps ---

const NO_MAP = "A map of what in the face speaks for a class. It is drawn when you ask for it.";

function hideMap(text = NO_MAP) {
  $("map").hidden = true;
  say("map-said", text);
}

async function showMap() {
  const shot = state.shot;
  if (!shot || !state.answer?.faces.length) {
    say("map-said", "Show a picture with a face first.", true);
    return;
  }
  hideMap("Drawing…");
  const query = { face: state.face, variant: $("map-variant").value };
  if ($("map-class").value) query.class = $("map-class").value;
  try {
    const map = await send("/explain", shot.blob, query);
    $("map-face").src = map.face;
    $("map-face").alt = "The face, cut from the picture";
    $("map-over").src = map.map;
    $("map-over").alt = `The face under the map of ${map.class}`;
    $("map-caption").textContent = `What speaks for ${map.class} (${percent(map.probability)}); bright is more`;
    $("map-warning").hidden = !map.warning;
    $("map-warning").textContent = map.warning ?? "";
    $("map-check").textContent = map.sanity === null ? "" :
      `Sanity check: rank correlation ${map.sanity.toFixed(2)} with the map of a randomised head; 0 is right. Taken at ${map.layer}.`;
    $("map").hidden = false;
    say("map-said", `The map of ${map.class} is drawn.${map.warning ? " A warning is below it." : ""}`);
    $("where").scrollIntoView({ block: "nearest" });
  } catch (error) {
    say("map-said", error.message, true);
  }
}

// --- the camera ---

const CAMERA_FAULTS = {
  NotAllowedError: "it was not allowed; allow it beside the page's address",
  NotFoundError: "none is connected",
  NotReadableError: "another program uses it",
};

// Returns whether the camera is on; who asks twice waits for the same one.
function startCamera() {
  state.starting ??= openCamera().finally(() => { state.starting = null; });
  return state.starting;
}

async function openCamera() {
  if (state.stream) return true;
  if (!navigator.mediaDevices?.getUserMedia) {
    say("said", `The camera cannot be used: browsers give it only to pages of this computer itself (127.0.0.1) or by https, and this one is at ${location.origin}.`, true);
    return false;
  }
  let stream = null;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 640 }, height: { ideal: 480 } } });
    $("video").srcObject = stream;
    await $("video").play();
  } catch (error) {
    for (const track of stream?.getTracks() ?? []) track.stop();
    say("said", `The camera cannot be used: ${CAMERA_FAULTS[error.name] ?? error.message}.`, true);
    return false;
  }
  for (const track of stream.getTracks()) {
    track.addEventListener("ended", () => {
      if (state.stream !== stream) return;
      stopCamera();
      say("said", "The camera ended: it was unplugged, or taken from this page.", true);
    });
  }
  state.stream = stream;
  $("camera").textContent = "Stop camera";
  $("camera").setAttribute("aria-pressed", "true");
  $("freeze").hidden = false;
  state.shots = [];
  showStrip();
  hideMap();
  say("said", "The camera is on.");
  watch(stream);
  return true;
}

function stopCamera() {
  if (!state.stream) return;
  for (const track of state.stream.getTracks()) track.stop();
  state.stream = null;
  $("video").srcObject = null;
  $("camera").textContent = "Start camera";
  $("camera").setAttribute("aria-pressed", "false");
  if (document.activeElement === $("freeze")) $("camera").focus();
  $("freeze").hidden = true;
  $("rate").textContent = "";
}

// Takes the camera's picture; its blob is null if there is none.
function frame() {
  const video = $("video");
  if (!video.videoWidth) return Promise.resolve({ blob: null, bitmap: null });
  const scale = FRAME / Math.max(video.videoWidth, video.videoHeight);
  const canvas = make("canvas", { width: Math.round(video.videoWidth * scale), height: Math.round(video.videoHeight * scale) });
  canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
  return new Promise((done) => canvas.toBlob((blob) => done({ blob, bitmap: canvas }), "image/jpeg", 0.9));
}

// Asks about one frame after another, for as long as the stream is the page's.
async function watch(stream) {
  const times = [];
  let told = 0;
  let next = frame();
  while (state.stream === stream) {
    const shot = await next;
    if (state.stream !== stream) return;
    next = frame(); // is encoded while the one before is answered
    if (!shot.blob) {
      await wait(100);
      continue;
    }
    try {
      const answer = await send("/predict", shot.blob);
      if (state.stream !== stream) return;
      Object.assign(state, { shot, answer, face: Math.min(state.face, Math.max(0, answer.faces.length - 1)) });
      showAnswer();
      draw(shot.bitmap, answer);
      const now = performance.now();
      times.push(now);
      while (times[0] < now - 2000) times.shift();
      if (times.length > 2) $("rate").textContent = `${((1000 * (times.length - 1)) / (now - times[0])).toFixed(0)} frames/s`;
      if (now - told > 3000) { // a screen reader is told now and then, not of every frame
        told = now;
        say("said", inWords(answer));
      }
    } catch (error) {
      if (state.stream !== stream) return;
      if (![404, 429, 503].includes(error.status)) {
        say("said", error.message, true);
        stopCamera();
        return;
      }
      await wait(500);
    }
    if (document.hidden) await wait(500);
  }
}

async function freeze() {
  const { shot } = state;
  stopCamera();
  if (shot) {
    state.shots = [shot];
    await show(shot);
  }
}

// --- teaching ---

// Returns why a picture was left out, or null.
async function collect(blob) {
  const told = await send("/teach/pictures", blob);
  if (told.key) addCollected(told);
  return told.left_out ?? null;
}

function addCollected(one) {
  const remove = make("button", { type: "button", textContent: "×", data: { key: one.key } });
  $("collected").append(make("li", { data: { key: one.key } }, make("img", { src: one.picture, alt: "", width: 70, height: 70 }), remove));
  showCollected();
}

async function readCollected() {
  const { pictures } = await api("GET", "/teach/pictures");
  $("collected").replaceChildren();
  pictures.forEach(addCollected);
  showCollected();
}

function showCollected() {
  const n = $("collected").childElementCount;
  [...$("collected").children].forEach((item, i) => {
    item.querySelector("img").alt = `Face ${i + 1}`;
    item.querySelector("button").setAttribute("aria-label", `Remove face ${i + 1}`);
  });
  if (!n && document.activeElement === $("clear")) $("add").focus();
  $("clear").hidden = !n;
  block("start", !n || state.teaching?.state === "running");
  $("start").textContent = n ? `Teach from ${count(n, "face")}` : "Teach";
}

// Sends pictures one by one; says how many were taken and why others were not.
async function collectAll(next, wanted) {
  const refused = new Map();
  let taken = 0;
  for await (const blob of next) {
    let why = null;
    try {
      why = await collect(blob);
    } catch (error) {
      why = error.message;
      if (![422, 413, 429, 503].includes(error.status)) wanted = 0;
    }
    if (why) refused.set(why, (refused.get(why) ?? 0) + 1);
    else taken += 1;
    say("collect-said", `${taken} of ${wanted} collected…`);
    if (taken >= wanted) break;
  }
  const why = [...refused].map(([text, n]) => `${n} left out: ${text}`).join("; ");
  say("collect-said", `${count(taken, "face")} collected.${why ? ` ${why}.` : ""}`, !taken);
}

async function* frames(stream, most) {
  for (let i = 0; i < most && state.stream === stream; i += 1) {
    const { blob } = await frame();
    if (blob) yield blob;
    await wait(BURST_EVERY);
  }
}

async function burst() {
  if (state.bursting) return;
  state.bursting = true;
  block("burst", true);
  try {
    if (!(await startCamera())) {
      say("collect-said", $("said").textContent, true);
      return;
    }
    const wanted = Math.max(1, Math.min(50, Number($("burst-count").value) || 1));
    await collectAll(frames(state.stream, 4 * wanted), wanted);
  } finally {
    state.bursting = false;
    block("burst", false);
  }
}

async function remove(keys) {
  for (const key of keys) {
    try {
      await api("DELETE", `/teach/pictures/${key}`);
    } catch (error) {
      if (error.status !== 404) throw error;
    }
    dropCollected([key]);
  }
  say("collect-said", `${count(keys.length, "face")} removed, ${$("collected").childElementCount} left.`);
}

function dropCollected(keys) {
  const had = $("collected").contains(document.activeElement);
  redraw($("collected"), [...$("collected").children].filter((item) => !keys.includes(item.dataset.key)));
  if (had && !$("collected").childElementCount) $("add").focus();
  showCollected();
}

const collectedKeys = () => [...$("collected").children].map((item) => item.dataset.key);

async function teach() {
  if (state.teaching?.state === "running" || !collectedKeys().length) {
    say("teach-said", state.teaching?.state === "running" ? "A class is being taught; wait until it is done." : "Collect a face first.", true);
    return;
  }
  const body = JSON.stringify({ class: $("class-name").value.trim(), pictures: collectedKeys() });
  // What is taught builds on an accepted model.
  const model = state.model === draft() ? state.teaching.model : state.model;
  try {
    state.teaching = await api("POST", "/teach", { query: { model }, body, type: "application/json" });
  } catch (error) {
    if ([404, 409].includes(error.status)) await catchUp();
    if (error.status === 404) await readCollected();
    say("teach-said", error.status === 404 ? "A picture or the model is not there any more; what is left is shown." : error.message, true);
    if (draft()) $("result").focus();
    return;
  }
  await follow();
}

// Shows how a class is taught, and what came of it.
async function follow() {
  $("result").hidden = true;
  showCollected();
  while (state.teaching.state === "running") {
    showLines();
    await wait(300);
    try {
      state.teaching = await api("GET", "/teach");
    } catch (error) {
      if (error.status !== 429) throw error;
    }
  }
  showLines();
  showCollected();
  if (draft()) await showResult();
}

function showLines() {
  const { state: how, lines = [], problem } = state.teaching;
  $("lines").replaceChildren(...lines.map((text, i) => make("li", { textContent: text, className: how === "running" && i === lines.length - 1 ? "now" : "" })));
  if (how === "running") say("teach-said", `Teaching: ${lines.at(-1) ?? "waiting"}…`);
  else if (how === "failed") say("teach-said", problem, true);
  else say("teach-said", { done: "Learned. Look at what was gained and forgotten, then decide.", accepted: "Accepted and saved.", discarded: "Discarded." }[how] ?? "");
}

async function showResult() {
  const { class: name, result } = state.teaching;
  const { left_out: alone, held_out: held } = result;
  $("gained").textContent = alone
    ? `${name}: ${alone.right} of ${count(alone.images, "picture")} ${alone.right === 1 ? "is" : "are"} answered right when it is learned without them. If all are of one person, that says little of others.`
    : `${name}: learned from one picture, so nothing says how well it is answered.`;
  $("lost").replaceChildren(
    `Classes known before: ${percent(held.before, 1)} right before, ${percent(held.after, 1)} after (`, change(held.before, held.after),
    `), on ${count(held.images, "test image")} of people that training never saw.`);
  const rows = Object.entries(held.classes).sort(([, a], [, b]) => (a.after - (a.before ?? 0)) - (b.after - (b.before ?? 0)));
  $("classes").replaceChildren(
    make("caption", { textContent: "Accuracy on held-out people, most forgotten first" }),
    make("thead", {}, make("tr", {}, ...["class", "before", "after", "change", "images"].map((text) => make("th", { scope: "col", textContent: text })))),
    make("tbody", {}, ...rows.map(([one, row]) => make("tr", {}, make("th", { scope: "row", textContent: one }),
      make("td", { textContent: row.before === null ? "not known" : percent(row.before) }), make("td", { textContent: percent(row.after) }),
      make("td", {}, row.before === null ? "new" : change(row.before, row.after)), make("td", { textContent: row.images })))));
  $("result").hidden = false;
  await readModels();
  await use(draft());
  $("result").focus({ preventScroll: true });
  $("result").scrollIntoView({ block: "nearest" });
}

function change(before, after) {
  const points = 100 * (after - before);
  const text = Math.abs(points) < 0.05 ? "no change" : `${points > 0 ? "▲ +" : "▼ −"}${Math.abs(points).toFixed(1)}`;
  return make("span", { textContent: text, className: Math.abs(points) < 0.05 ? "" : points > 0 ? "up" : "down" });
}

async function showExemplars() {
  const { model } = state;
  if (!$("replayed").open || $("exemplars").dataset.of === model) return;
  $("exemplars").textContent = "Loading…";
  let told;
  try {
    told = await api("GET", "/exemplars", { query: { model } });
  } catch (error) {
    if (model === state.model) $("exemplars").textContent = error.message;
    return;
  }
  if (model !== state.model) return;
  $("exemplars").dataset.of = model;
  $("exemplars").replaceChildren(...told.exemplars.map((one) => {
    const what = one.taught ? "of yours" : "exemplars";
    const some = one.pictures.length < one.images ? `${one.pictures.length} of ${one.images}` : one.images;
    return make("div", { className: "replay" },
      make("span", {}, make("strong", { textContent: one.class }), make("br"), `${some} ${what}`),
      make("div", {}, ...one.pictures.map((src, i) => make("img", { src, alt: `${i + 1} of ${one.class}`, width: 38, height: 38 }))));
  }));
}

async function decide(how) {
  const { key, model, class: name, pictures } = state.teaching;
  const tried = state.model === key;
  // From now on nothing asks the model that waits; what asked it before is answered before.
  if (tried) state.model = model;
  let told;
  try {
    told = await api("POST", `/teach/${how}`, { query: { model: key } });
  } catch (error) {
    if (tried) state.model = key;
    if (error.status === 409) await catchUp();
    say("teach-said", error.status === 409 ? `${name} was accepted or discarded in another tab.` : error.message, true);
    return;
  }
  if (tried && told.model) state.model = told.model;
  state.teaching = await api("GET", "/teach");
  $("result").hidden = true;
  showLines();
  if (how === "accept") {
    dropCollected(pictures);
    if ($("class-name").value.trim() === name) $("class-name").value = "";
    say("collect-said", "");
  }
  await readModels();
  await use(state.model);
  const next = how === "accept" ? $("list").querySelector("[aria-current]") : $("teach-title");
  next.focus({ preventScroll: true });
  next.scrollIntoView({ block: "nearest" });
}

// --- what the user does ---

const told = (where, action) => async (event) => {
  try {
    await action(event);
  } catch (error) {
    say(where, error.message, true);
  }
};

function listen() {
  const stage = $("stage");
  const accepts = (event) => {
    event.preventDefault();
    stage.classList.toggle("over", event.type === "dragover");
  };
  for (const type of ["dragover", "dragleave", "drop"]) document.addEventListener(type, accepts);
  document.addEventListener("drop", told("said", (event) => addFiles([...event.dataTransfer.files])));
  document.addEventListener("paste", told("said", (event) => addFiles([...event.clipboardData.files])));
  $("choose").addEventListener("click", () => $("files").click());
  $("files").addEventListener("change", told("said", async () => { const files = [...$("files").files]; $("files").value = ""; await addFiles(files); }));
  $("camera").addEventListener("click", told("said", () => (state.stream ? freeze() : startCamera())));
  $("freeze").addEventListener("click", told("said", freeze));
  $("strip").addEventListener("click", told("said", async (event) => { const button = event.target.closest("button"); if (button) await show(state.shots[button.dataset.shot]); }));
  $("faces").addEventListener("click", (event) => {
    if (!event.target.dataset.face) return;
    state.face = Number(event.target.dataset.face);
    hideMap();
    showAnswer();
    say("said", inWords(state.answer));
  });
  $("more").addEventListener("click", () => { state.all = !state.all; showAnswer(); });
  $("model").addEventListener("change", told("models-said", () => choose($("model").value)));
  $("list").addEventListener("click", told("models-said", async (event) => { if (event.target.dataset.key) await choose(event.target.dataset.key); }));
  $("ask-map").addEventListener("submit", told("map-said", async (event) => { event.preventDefault(); if (state.stream) await freeze(); await showMap(); }));
  $("map-class").addEventListener("change", pressClass);
  $("made-of").addEventListener("click", told("map-said", async (event) => {
    const one = event.target.closest(".cell");
    if (!one) return;
    $("map-class").value = one.dataset.class;
    pressClass();
    if (state.stream) await freeze();
    await showMap();
  }));
  $("burst").addEventListener("click", told("collect-said", burst));
  $("add").addEventListener("click", () => $("teach-files").click());
  $("teach-files").addEventListener("change", told("collect-said", async () => { const files = [...$("teach-files").files]; $("teach-files").value = ""; await collectAll(files, files.length); }));
  $("clear").addEventListener("click", told("collect-said", () => remove(collectedKeys())));
  $("collected").addEventListener("click", told("collect-said", async (event) => { if (event.target.dataset.key && event.target.tagName === "BUTTON") await remove([event.target.dataset.key]); }));
  $("teach-form").addEventListener("submit", told("teach-said", async (event) => { event.preventDefault(); await teach(); }));
  $("accept").addEventListener("click", told("teach-said", () => decide("accept")));
  $("discard").addEventListener("click", told("teach-said", () => decide("discard")));
  $("replayed").addEventListener("toggle", told("teach-said", showExemplars));
}

async function begin() {
  listen();
  await readModels();
  await use(state.model);
  await readCollected();
  const teaching = await api("GET", "/teach");
  if (["running", "done", "failed"].includes(teaching.state)) {
    state.teaching = teaching;
    $("class-name").value = teaching.class;
    await follow();
  }
  document.addEventListener("visibilitychange", told("teach-said", async () => { if (!document.hidden && state.teaching?.state !== "running") await catchUp(); }));
}

begin().catch((error) => offline(`The page cannot be shown: ${error.message}.`));
