// Runs once, when the player's component is created. Each result replaces its content, so listeners
// are on `element` and look up what it contains now.

const find = (selector) => element.querySelector(selector);
const source = () => find("video.source");
let words = [], starts = [], boxes = [], since = 0, until = Infinity, lastContent = null, highlighted = null, frame = 0;
let typing = null;  // the word that is being edited: its index, text and old text
let position = { src: "", time: 0, since: 0, until: 0, on: {} };  // state before the content changed

function readContent() {  // read the words and boxes of the current content
  const player = find(".player");
  if (!player) return false;
  const text = find(".words").innerHTML.length + player.dataset.boxes + source().src;
  if (lastContent !== text || (words[0] && !words[0].isConnected)) {
    lastContent = text;
    words = [...element.querySelectorAll(".word[data-start]")];
    starts = words.map((word) => Number(word.dataset.start));
    boxes = JSON.parse(player.dataset.boxes);
    since = Number(player.dataset.since);
    until = Number(player.dataset.until) || Infinity;
  }
  return true;
}

function wordAt(time) {  // the word that is spoken at a time, or null
  let low = 0, high = starts.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (starts[middle] <= time + 0.001) low = middle + 1; else high = middle;
  }
  const word = words[low - 1];
  return word && time < Number(word.dataset.end) + 0.12 ? word : null;
}

function show() {  // highlight what belongs to the current time of the video
  if (!readContent()) return;
  const video = source(), time = video.currentTime, word = wordAt(time);
  if (word !== highlighted || (word && !word.classList.contains("now"))) {
    element.querySelectorAll(".word.now").forEach((other) => other.classList.remove("now"));
    if (word) word.classList.add("now");
    highlighted = word;
  }
  const line = find(".timeline");
  find(".head").style.left = `${Math.min(100, 100 * time / Number(line.dataset.duration))}%`;
  const mouth = find(".mouth video");
  const mouthTime = Math.max(0, time - since);
  if (mouth && Math.abs(mouth.currentTime - mouthTime) > 0.1) mouth.currentTime = mouthTime;
  const away = time < since || time > until;  // outside the part whose lips are shown
  find(".mouth")?.classList.toggle("away", away);
  const face = find(".face");
  const box = !away && boxes[Math.min(boxes.length - 1, Math.floor((time - since) * 25))];
  const on = Object.fromEntries(
    ["subtitles", "face", "edit"].map((does) => [does, isOn(does)]));
  position = { src: video.src, time, since, until, on };
  const visible = isOn("face") && box;
  face.style.display = visible ? "block" : "none";
  if (visible) ["left", "top", "width", "height"].forEach((side, i) => {
    face.style[side] = `${box[i] / 10}%`;
  });
}

function follow() {  // update at every frame of the screen
  show();
  const video = source();
  frame = video && !video.paused ? requestAnimationFrame(follow) : 0;
}

function seek(time) {
  source().currentTime = time + 0.001;
  show();
}

const isOn = (does) => find(`[data-does=${does}]`)?.getAttribute("aria-pressed") === "true";

function toggle(button) {
  const on = button.getAttribute("aria-pressed") !== "true";
  button.setAttribute("aria-pressed", on);
  if (button.dataset.does === "edit") edit(on);
  apply();
  show();
}

function apply() {  // the browser may change the mode by itself
  const video = source();
  if (video) for (const track of video.textTracks) {
    track.mode = isOn("subtitles") ? "showing" : "hidden";
  }
}

function edit(on) {
  find(".words").classList.toggle("editing", on);
  find(".hint").textContent = on ? "Change a word, then press Enter. An empty word is removed." : "";
  element.querySelectorAll(".word").forEach((word) => {
    if (on) word.setAttribute("contenteditable", "plaintext-only");
    else word.removeAttribute("contenteditable");
  });
}

function sendEdit(word) {  // the server writes new files
  const text = word.textContent.trim();
  if (word.before === undefined || text === word.before) return;
  word.before = undefined;
  trigger("edit", { index: Number(word.dataset.index), text });
}

element.addEventListener("click", (event) => {
  const button = event.target.closest("[data-does]");
  if (button?.dataset.does === "closer") return trigger("select", { time: source().currentTime });
  if (button) return toggle(button);
  const word = event.target.closest(".word[data-start]");
  if (word && !isOn("edit")) return seek(Number(word.dataset.start));
  const line = event.target.closest(".timeline");
  if (line) {
    const space = line.getBoundingClientRect();
    seek((event.clientX - space.left) / space.width * Number(line.dataset.duration));
  }
});

element.addEventListener("keydown", (event) => {
  const word = event.target.closest(".word");
  if (!word) return;
  if (isOn("edit")) {
    if (event.key === "Enter") { event.preventDefault(); word.blur(); }
    if (event.key === "Escape" && word.before !== undefined) {
      word.textContent = word.before;
      word.blur();
    }
    return;
  }
  if (event.key === "Enter" || event.key === " ") {
    event.preventDefault();
    return seek(Number(word.dataset.start));
  }
  const forward = find(".words").dir === "rtl" ? "ArrowLeft" : "ArrowRight";
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!step || !readContent()) return;
  event.preventDefault();
  const next = words[words.indexOf(word) + (event.key === forward ? 1 : -1)];
  if (next) { word.tabIndex = -1; next.tabIndex = 0; next.focus(); }
});

function resume() {  // an answer arrives while the visitor edits the next word: keep that
  const word = typing && isOn("edit") && find(`.word[data-index="${typing.index}"]`);
  if (!word) return;
  const { text, before } = typing;
  word.focus();
  word.before = before;
  word.textContent = text;
  getSelection().selectAllChildren(word);
  getSelection().collapseToEnd();
  typing = { index: word.dataset.index, text, before };
}

element.addEventListener("focusin", (event) => {
  const word = event.target.closest(".word[contenteditable]");
  if (!word) return;
  word.before = word.textContent.trim();
  typing = { index: word.dataset.index, text: word.textContent, before: word.before };
});
element.addEventListener("input", (event) => {
  const word = event.target.closest(".word[contenteditable]");
  if (word && typing) typing.text = word.textContent;
});
element.addEventListener("focusout", (event) => {
  const word = event.target.closest(".word[contenteditable]");
  if (!word || !word.isConnected) return;  // the content was replaced, the visitor did not leave the word
  typing = null;
  sendEdit(word);
});

// Media events do not bubble, so listen in the capture phase.
const onMedia = (name, react) => element.addEventListener(name, (event) => {
  if (event.target.matches?.("video.source")) react(event.target);
}, true);
onMedia("play", () => { find(".mouth video")?.play(); if (!frame) follow(); });
onMedia("pause", () => { find(".mouth video")?.pause(); show(); });
onMedia("seeking", show);
onMedia("timeupdate", show);
onMedia("ratechange", (video) => {
  const mouth = find(".mouth video");
  if (mouth) mouth.playbackRate = video.playbackRate;
});
onMedia("loadedmetadata", () => { apply(); show(); });
onMedia("error", () => {
  find(".hint").textContent = "Your browser cannot play this kind of video. The words are below.";
});

watch("value", () => {
  const before = position;
  if (!readContent()) return;
  if (source().src === before.src) {  // the same recording: stay, or go to the new part
    const same = since === before.since && until === before.until;
    source().currentTime = same ? before.time : since + 0.001;
    Object.entries(before.on).forEach(([does, on]) => {
      find(`[data-does=${does}]`)?.setAttribute("aria-pressed", on);
    });
  }
  edit(isOn("edit"));
  resume();
  apply();
  show();
});
