// Notifications in this browser: asks the person, signs up at the browser's push service, and tells the server where.
"use strict";
(() => {
  const button = document.querySelector("[data-push]");
  const told = document.querySelector("[data-push-told]");
  if (!button || !("serviceWorker" in navigator) || !("PushManager" in window)) return;
  const say = (text) => { told.textContent = text; told.hidden = false; };
  const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
  button.hidden = false;
  button.addEventListener("click", async () => {
    button.disabled = true;
    told.hidden = true;
    try {
      if (await Notification.requestPermission() !== "granted") { say(button.dataset.denied); return; }
      const worker = await navigator.serviceWorker.register("/sw.js");
      await navigator.serviceWorker.ready;
      const subscription = await worker.pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: bytes(button.dataset.key) });
      const answer = await fetch("/settings/push", {
        method: "POST",
        headers: { "Content-Type": "application/json", "X-CSRF-Token": document.body.dataset.formToken },
        body: JSON.stringify(subscription),
      });
      if (!answer.ok) throw new Error(String(answer.status));
      location.assign("/settings?told=saved");
    } catch {
      say(button.dataset.failed);
    } finally {
      button.disabled = false;
    }
  });
})();
