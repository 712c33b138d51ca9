// callfold: keeps the page up to date. Everything works without it, by loading the page again.
//
// Other scripts of a page (card.js) stand behind this one and find their tools in `callfold`:
//   words        the texts and numbers on the body
//   put          a value into the `{}` of a text
//   fragment     fetches a part of a page from the server
//   gathered     makes `work` run soon, once at a time
//   sent         what the server sent for a part, by element; `remember` fills it for everything below an element
//   tick         writes the times below the document anew
//   onLead       a function that is called with the notice of every lead that changed ({call_sid, status, position})
//   onStale      a function that is called when anything may have been missed
//   card         set by card.js: { current(), open(sid) }
"use strict";
(() => {
  const words = document.body.dataset;
  if (!words.position) return; // sign-in and error pages stand still

  const list = document.querySelector("[data-list]");
  const pill = document.querySelector("[data-pill]");
  const offline = document.querySelector("[data-offline]");
  const wide = matchMedia("(min-width: 64rem)");
  // The machine in front of us may have another time of day than the server.
  const skew = Number(words.now) - Date.now();
  const put = (text, value) => text.replace("{}", value);

  // What the server sent, before this script wrote times into it: tells whether a part really changed.
  const sent = new WeakMap();
  const remember = (root) => {
    for (const part of root.querySelectorAll("[data-part], [data-row]")) sent.set(part, part.outerHTML);
  };

  const callfold = window.callfold = { words, put, sent, remember, card: null };
  const leadListeners = [], staleListeners = [];
  callfold.onLead = (listener) => leadListeners.push(listener);
  callfold.onStale = (listener) => staleListeners.push(listener);
  const stale = () => { for (const listener of staleListeners) listener(); };

  // Times ---------------------------------------------------------------------------------------------------------
  const tick = () => {
    const now = Date.now() + skew;
    for (const el of document.querySelectorAll("[data-since]")) {
      const seconds = Math.max(0, Math.floor((now - Number(el.dataset.since)) / 1000));
      const text = seconds < 100 ? put(words.seconds, seconds)
        : seconds < 6000 ? put(words.minutes, Math.floor(seconds / 60)) : null;
      if (text !== null && el.textContent !== text) el.textContent = text;
    }
    for (const el of document.querySelectorAll("[data-when]")) {
      const minutes = Math.floor((now - Number(el.dataset.when)) / 60000);
      el.dataset.said ??= el.textContent;
      const text = minutes < 0 || minutes >= 60 ? el.dataset.said : minutes < 1 ? words.justNow : put(words.ago, minutes);
      if (el.textContent !== text) el.textContent = text;
    }
  };

  // Fragments -----------------------------------------------------------------------------------------------------
  const fragment = async (url) => {
    const answer = await fetch(url, { credentials: "same-origin", cache: "no-store", redirect: "error" });
    if (answer.status === 401) { location.reload(); }
    if (!answer.ok) throw new Error("fragment " + answer.status);
    const template = document.createElement("template");
    template.innerHTML = await answer.text(); // our own server's templates, in which everything is escaped
    return template.content;
  };

  // Runs `work` soon, never twice at once, and once more when it was asked for in the meantime.
  const gathered = (work, delay) => {
    let timer = null, running = false, again = false;
    const run = async () => {
      timer = null;
      if (running) { again = true; return; }
      running = true;
      try { await work(); } catch { timer ??= setTimeout(run, 5000); }
      running = false;
      if (again) { again = false; timer ??= setTimeout(run, delay); }
    };
    return () => { timer ??= setTimeout(run, delay); };
  };

  Object.assign(callfold, { tick, fragment, gathered });

  // Queue ---------------------------------------------------------------------------------------------------------
  const PAGE = 50; // rows that the server sends at most
  const queue = document.querySelector("[data-queue]");
  const scrolled = () => (wide.matches ? queue.scrollTop : window.scrollY) > 48;
  let reveal = false;

  // Keeps what is being read where it is while rows above it come and go.
  const keepingPlace = (gone, change) => {
    const scroller = wide.matches ? queue : document.documentElement;
    const edge = wide.matches ? queue.getBoundingClientRect().top : 0;
    const anchor = scrolled() && !reveal && [...list.querySelectorAll("[data-row]")]
      .find((row) => !gone.has(row) && row.getBoundingClientRect().bottom > edge);
    const top = anchor && anchor.getBoundingClientRect().top;
    scroller.style.overflowAnchor = "none"; // else the browser might move it a second time
    change();
    if (anchor) scroller.scrollBy(0, anchor.getBoundingClientRect().top - top);
    scroller.style.overflowAnchor = "";
  };

  const refreshList = async () => {
    if (!list || queue.offsetParent === null && getComputedStyle(queue).display === "none") return;
    const fresh = [...(await fragment(list.dataset.list)).querySelectorAll("[data-row]")];
    const known = new Map([...list.querySelectorAll("[data-row]")].map((row) => [row.dataset.row, row]));
    // A page that is not full ends the list; behind a full one there are older rows, of which it says nothing.
    const received = (row) => Number(row.querySelector("[data-when]").dataset.when);
    const oldest = fresh.length < PAGE ? -Infinity : received(fresh[fresh.length - 1]);
    const there = new Set(fresh.map((row) => row.dataset.row));
    const gone = new Set([...known.values()].filter((row) => !there.has(row.dataset.row) && received(row) > oldest));
    const full = known.size - gone.size;
    let above = true, waiting = 0, before = null;
    const added = [];
    for (const row of fresh) {
      const old = known.get(row.dataset.row);
      if (old) {
        above = false;
        const html = row.outerHTML;
        if (sent.get(old) !== html) {
          sent.set(old, html);
          const link = old.querySelector("a");
          link.replaceChildren(...row.querySelector("a").childNodes);
        }
        before = old;
      } else if (above && scrolled() && !reveal) {
        waiting += 1; // shown when asked for: what is being read stays where it is
      } else if (above || added.length + full < PAGE) {
        added.push([row, before]);
        before = row;
      }
    }
    keepingPlace(gone, () => {
      for (const [row, after] of added) {
        sent.set(row, row.outerHTML);
        if (after) after.after(row); else list.prepend(row);
      }
      for (const row of gone) {
        const focused = row.contains(document.activeElement);
        const next = row.nextElementSibling ?? row.previousElementSibling;
        row.remove();
        if (focused) next?.querySelector("a").focus({ preventScroll: true });
      }
    });
    reveal = false;
    pill.hidden = waiting === 0;
    pill.textContent = put(words.newLeads, waiting);
    markCurrent();
    tick();
  };
  // The row of the lead that is open beside the list.
  const markCurrent = () => {
    const sid = callfold.card?.current();
    for (const row of list?.querySelectorAll("[data-row]") ?? []) {
      const link = row.querySelector("a");
      if (row.dataset.row === sid) link.setAttribute("aria-current", "true"); else link.removeAttribute("aria-current");
    }
  };
  callfold.markCurrent = markCurrent;
  const refreshListSoon = gathered(refreshList, 150);
  pill?.addEventListener("click", () => {
    reveal = true;
    (wide.matches ? queue : window).scrollTo({ top: 0 });
    refreshListSoon();
  });

  list?.addEventListener("click", async (event) => {
    const link = event.target.closest("a");
    if (!link || !callfold.card || !wide.matches) return;
    if (event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    try {
      await callfold.card.open(link.closest("[data-row]").dataset.row);
      history.pushState(null, "", link.href);
      markCurrent();
    } catch { location.href = link.href; }
  });
  addEventListener("popstate", () => location.reload());
  callfold.onLead(refreshListSoon);
  callfold.onStale(refreshListSoon);

  // Live ----------------------------------------------------------------------------------------------------------
  let last = words.position, source = null, lost = null;
  const say = (visible) => {
    if (!visible) { offline.hidden = true; return; }
    if (!offline.hidden) return;
    const time = new Date().toLocaleTimeString(document.documentElement.lang === "he" ? "he-IL" : "en-GB", { hour: "2-digit", minute: "2-digit", timeZone: words.zone });
    offline.textContent = put(words.noConnection, time);
    offline.hidden = false;
  };
  const connect = () => {
    source?.close();
    source = new EventSource("/api/v1/events?last_event_id=" + encodeURIComponent(last));
    source.addEventListener("open", () => { clearTimeout(lost); lost = null; say(false); });
    source.addEventListener("lead", (event) => {
      last = event.lastEventId || last;
      const notice = JSON.parse(event.data);
      for (const listener of leadListeners) listener(notice);
    });
    source.addEventListener("error", () => {
      lost ??= setTimeout(() => say(true), 3000);
      if (source.readyState !== EventSource.CLOSED) return; // else the browser tries again by itself
      setTimeout(() => { stale(); connect(); }, 5000);
    });
  };

  remember(document);
  tick();
  setInterval(tick, 1000);
  // When the other scripts of the page are there as well.
  document.addEventListener("DOMContentLoaded", () => { markCurrent(); connect(); });
  addEventListener("pageshow", (event) => {
    if (event.persisted) { connect(); stale(); } // back from the browser's memory
  });
  // "Today" is another day after midnight.
  let day = new Date().getDate();
  setInterval(() => {
    if (new Date().getDate() === day) return;
    day = new Date().getDate();
    stale();
  }, 60000);
})();
