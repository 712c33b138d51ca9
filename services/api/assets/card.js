// callfold: the card. Its tools come from app.js (`callfold`), which stands before this script.
"use strict";
(() => {
  const callfold = window.callfold;
  const pane = document.querySelector("[data-pane]");
  if (!callfold || !pane) return;
  const { fragment, gathered, remember, sent, tick } = callfold;

  const current = () => pane.querySelector("[data-sid]")?.dataset.sid;

  // Puts in what changed, part by part: an unchanged player goes on playing.
  const refresh = async () => {
    const sid = current();
    if (!sid) return;
    const fresh = (await fragment("/leads/" + encodeURIComponent(sid) + "/card")).querySelector("[data-sid]");
    const card = pane.querySelector("[data-sid]");
    if (!fresh || card.dataset.sid !== fresh.dataset.sid) return; // another card was opened in the meantime
    const old = new Map([...card.querySelectorAll("[data-part]")].map((part) => [part.dataset.part, part]));
    let before = null;
    for (const part of [...fresh.querySelectorAll("[data-part]")]) {
      const html = part.outerHTML;
      const there = old.get(part.dataset.part);
      old.delete(part.dataset.part);
      if (there && sent.get(there) === html) { before = there; continue; }
      sent.set(part, html);
      if (there) {
        const focused = there.contains(document.activeElement) ? document.activeElement.id : "";
        there.replaceWith(part);
        if (focused) document.getElementById(focused)?.focus();
      } else if (before) { before.after(part); } else { card.prepend(part); }
      before = part;
    }
    for (const gone of old.values()) gone.remove();
    document.title = fresh.dataset.title;
    tick();
  };
  const refreshSoon = gathered(refresh, 50);

  const open = async (sid) => {
    pane.replaceChildren(await fragment("/leads/" + encodeURIComponent(sid) + "/card"));
    remember(pane);
    document.title = pane.querySelector("[data-sid]").dataset.title;
    window.scrollTo({ top: 0 });
    tick();
  };

  callfold.card = { current, open };
  callfold.onLead((notice) => { if (notice.call_sid === current()) refreshSoon(); });
  callfold.onStale(refreshSoon);
})();
