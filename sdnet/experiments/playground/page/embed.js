/* In the book, around the playground's frame: as high as its page, and as light or dark as the book. */
(() => {
  "use strict";
  const root = document.documentElement;
  const frames = () => [...document.querySelectorAll("iframe.playground")];
  const tell = (frame) => frame.contentWindow.postMessage({ theme: root.dataset.theme }, "*");

  addEventListener("message", ({ source, data }) => {
    const frame = frames().find(({ contentWindow }) => contentWindow === source);
    if (!frame || !Number.isFinite(data.height)) return;
    frame.style.height = `${data.height}px`;
    tell(frame); // it listens from now on
  });
  new MutationObserver(() => frames().forEach(tell)).observe(root, { attributeFilter: ["data-theme"] });
})();
