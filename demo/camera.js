// A recorder hands out the last of what it has only after it was stopped. Gradio takes what is there
// at the click on Stop and loses the rest: much of it where the computer is slow. So the click waits.
(() => {
  let recorder = null, waits = false;
  window.MediaRecorder = class extends window.MediaRecorder {
    constructor(...given) { super(...given); recorder = this; }
    stop() { if (this.state !== "inactive") super.stop(); }
  };
  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("#video button");
    if (!event.isTrusted || !button?.querySelector("[title='stop recording']")) return;
    if (recorder?.state === "recording") {
      waits = true;
      recorder.addEventListener("stop", () => { waits = false; button.click(); }, { once: true });
      recorder.stop();
    }
    if (waits) event.stopImmediatePropagation();
  }, true);
})();
