// Says that there is no connection, and registers the worker that shows the offline page. Without it every page works too.
"use strict";
(() => {
  const notice = document.getElementById("offline");
  const say = (hidden) => {
    if (notice) notice.hidden = hidden;
  };
  const look = () => say(navigator.onLine);
  addEventListener("online", look);
  addEventListener("offline", look);
  look();
  // A request that never came back: whatever was sent may not have arrived.
  document.addEventListener("htmx:error", () => say(false));
  document.addEventListener("htmx:after:swap", look);
  if ("serviceWorker" in navigator) {
    navigator.serviceWorker.register("/web/worker.js", { scope: "/" }).catch(() => {});
  }
})();
