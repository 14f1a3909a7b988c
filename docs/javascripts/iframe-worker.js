// The search runs in a worker, which browsers refuse to pages opened from a disk: there a hidden frame takes its place.
// mkdocs-material would load such a shim from a content network; a name with "iframe-worker" in it keeps that out.
if (location.protocol === "file:") {
  const load = (frame, url) =>
    new Promise((done, failed) => {
      const script = frame.document.createElement("script");
      Object.assign(script, { src: url, onload: done, onerror: failed });
      frame.document.body.appendChild(script);
    });

  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      this.element = Object.assign(document.createElement("iframe"), { hidden: true, title: "search" });
      document.body.appendChild(this.element);
      this.frame = this.element.contentWindow;
      const answer = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      this.frame.postMessage = (data) => queueMicrotask(() => answer(data));
      this.frame.importScripts = async (...urls) => {
        for (const each of urls) await load(this.frame, each);
      };
      this.ready = load(this.frame, new URL(url, location.href).href);
    }

    postMessage(data) {
      this.ready.then(() => this.frame.dispatchEvent(new this.frame.MessageEvent("message", { data })));
    }

    terminate() {
      this.element.remove();
    }
  };
}
