// A MediaRecorder delivers its last data only after it has stopped. Gradio takes the data that it has
// at the click on Stop and loses the rest, which is much on a slow computer. So the click waits.
(() => {
  let recorder = null, waiting = false;
  window.MediaRecorder = class extends window.MediaRecorder {
    constructor(...args) { super(...args); recorder = this; }
    stop() { if (this.state !== "inactive") super.stop(); }
  };
  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("#video button");
    if (!event.isTrusted || !button?.querySelector("[title='stop recording']")) return;
    if (recorder?.state === "recording") {
      waiting = true;
      recorder.addEventListener("stop", () => { waiting = false; button.click(); }, { once: true });
      recorder.stop();
    }
    if (waiting) event.stopImmediatePropagation();
  }, true);
})();
