// Shows what the server pushed and opens the card. Keeps nothing and answers no requests.
"use strict";
self.addEventListener("push", (event) => {
  let told = {};
  try { told = event.data ? event.data.json() : {}; } catch { /* what does not read is shown as a plain notice */ }
  const title = typeof told.title === "string" && told.title ? told.title : "callfold";
  event.waitUntil(self.registration.showNotification(title, {
    body: typeof told.body === "string" ? told.body : "",
    dir: told.dir === "rtl" ? "rtl" : "ltr",
    lang: typeof told.lang === "string" ? told.lang : "",
    tag: typeof told.tag === "string" ? told.tag : undefined,
    data: { path: typeof told.path === "string" && /^\/leads\/[A-Za-z0-9_]+$/.test(told.path) ? told.path : "/" },
  }));
});
self.addEventListener("notificationclick", (event) => {
  event.notification.close();
  const path = event.notification.data ? event.notification.data.path : "/";
  event.waitUntil((async () => {
    const open = await self.clients.matchAll({ type: "window" });
    for (const client of open) {
      if (new URL(client.url).pathname === path && "focus" in client) return client.focus();
    }
    return self.clients.openWindow(path);
  })());
});
