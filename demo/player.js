// Runs once, when the player's component is there. Its content is replaced with every result, so
// listeners sit on `element` and look at what is in it now.

const find = (selector) => element.querySelector(selector);
const source = () => find("video.source");
let words = [], starts = [], boxes = [], since = 0, until = Infinity, known = null, lit = null, frame = 0;
let typing = null;  // the word that is being changed, its number and what is typed so far
let place = { src: "", time: 0, since: 0, until: 0, on: {} };  // where the visitor was before the content changed

function learn() {  // what is on the page now
  const player = find(".player");
  if (!player) return false;
  const text = find(".words").innerHTML.length + player.dataset.boxes + source().src;
  if (known !== text || (words[0] && !words[0].isConnected)) {
    known = text;
    words = [...element.querySelectorAll(".word[data-start]")];
    starts = words.map((word) => Number(word.dataset.start));
    boxes = JSON.parse(player.dataset.boxes);
    since = Number(player.dataset.since);
    until = Number(player.dataset.until) || Infinity;
  }
  return true;
}

function wordAt(time) {  // the last word that has begun, if it has not ended
  let low = 0, high = starts.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (starts[middle] <= time + 0.001) low = middle + 1; else high = middle;
  }
  const word = words[low - 1];
  return word && time < Number(word.dataset.end) + 0.12 ? word : null;
}

function show() {  // the moment that the video is at
  if (!learn()) return;
  const video = source(), time = video.currentTime, word = wordAt(time);
  if (word !== lit || (word && !word.classList.contains("now"))) {
    element.querySelectorAll(".word.now").forEach((other) => other.classList.remove("now"));
    if (word) word.classList.add("now");
    lit = word;
  }
  const line = find(".timeline");
  find(".head").style.left = `${Math.min(100, 100 * time / Number(line.dataset.duration))}%`;
  const mouth = find(".mouth video");
  const own = Math.max(0, time - since);
  if (mouth && Math.abs(mouth.currentTime - own) > 0.1) mouth.currentTime = own;
  const away = time < since || time > until;  // from the part that is looked at closely
  find(".mouth")?.classList.toggle("away", away);
  const face = find(".face");
  const box = !away && boxes[Math.min(boxes.length - 1, Math.floor((time - since) * 25))];
  const on = Object.fromEntries(
    ["subtitles", "face", "edit"].map((does) => [does, isOn(does)]));
  place = { src: video.src, time, since, until, on };
  const wanted = isOn("face") && box;
  face.style.display = wanted ? "block" : "none";
  if (wanted) ["left", "top", "width", "height"].forEach((side, i) => {
    face.style[side] = `${box[i] / 10}%`;
  });
}

function follow() {  // as smoothly as the screen goes
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

function apply() {  // the browser may have its own mind about subtitles
  const video = source();
  if (video) for (const track of video.textTracks) {
    track.mode = isOn("subtitles") ? "showing" : "hidden";
  }
}

function edit(on) {
  find(".words").classList.toggle("editing", on);
  find(".hint").textContent = on ? "Change a word, then press Enter. Empty leaves it out." : "";
  element.querySelectorAll(".word").forEach((word) => {
    if (on) word.setAttribute("contenteditable", "plaintext-only");
    else word.removeAttribute("contenteditable");
  });
}

function keep(word) {  // a changed word goes to the server, which makes the files anew
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
  if (!step || !learn()) return;
  event.preventDefault();
  const next = words[words.indexOf(word) + (event.key === forward ? 1 : -1)];
  if (next) { word.tabIndex = -1; next.tabIndex = 0; next.focus(); }
});

function resume() {  // the answer to one word must not disturb who is at the next one already
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
  if (!word || !word.isConnected) return;  // it was replaced, not left
  typing = null;
  keep(word);
});

// Media events do not bubble; they are caught on their way down.
const heard = (name, react) => element.addEventListener(name, (event) => {
  if (event.target.matches?.("video.source")) react(event.target);
}, true);
heard("play", () => { find(".mouth video")?.play(); if (!frame) follow(); });
heard("pause", () => { find(".mouth video")?.pause(); show(); });
heard("seeking", show);
heard("timeupdate", show);
heard("ratechange", (video) => {
  const mouth = find(".mouth video");
  if (mouth) mouth.playbackRate = video.playbackRate;
});
heard("loadedmetadata", () => { apply(); show(); });
heard("error", () => {
  find(".hint").textContent = "Your browser cannot play this kind of video; its words are here.";
});

watch("value", () => {
  const before = place;
  if (!learn()) return;
  if (source().src === before.src) {  // the same recording: stay, or go to the part that came
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
