// Shows our offline page, with the telephone, where the browser would show its own error. It keeps nothing that was typed.
"use strict";
const KEPT = "bels-offline";
const PAGE = "/web/offline.html";
const OURS = /^\/(readings|receipts|l\/)/;

self.addEventListener("install", (event) => {
  event.waitUntil(
    (async () => {
      const kept = await caches.open(KEPT);
      const page = await fetch(PAGE, { cache: "reload" });
      const text = await page.clone().text();
      const files = new Set([...text.matchAll(/(?:href|src)="(\/web\/[^"]+)"/g)].map((found) => found[1]));
      await kept.addAll([...files]);
      await kept.put(PAGE, page);
      await self.skipWaiting();
    })(),
  );
});

self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const path = new URL(request.url).pathname;
  if (request.mode === "navigate" && OURS.test(path)) {
    event.respondWith(fetch(request).catch(() => caches.match(PAGE).then((page) => page ?? Response.error())));
  } else if (request.method === "GET" && path.startsWith("/web/")) {
    event.respondWith(fetch(request).catch(() => caches.match(request).then((file) => file ?? Response.error())));
  }
});
