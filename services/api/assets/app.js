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
  // With `known`, a Map of address to tag, the answer is null when the server has nothing else than before.
  const fragment = async (url, known = null) => {
    const headers = known?.has(url) ? { "If-None-Match": known.get(url) } : {};
    const answer = await fetch(url, { headers, credentials: "same-origin", cache: "no-store", redirect: "error" });
    if (answer.status === 304) return null;
    if (answer.status === 401) { location.reload(); }
    if (!answer.ok) throw new Error("fragment " + answer.status);
    const template = document.createElement("template");
    if (known && answer.headers.has("ETag")) { known.clear(); known.set(url, answer.headers.get("ETag")); }
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

  const trouble = document.querySelector("[data-trouble]"), said = document.querySelector("[data-said]");
  const badge = document.querySelector("[data-count]");
  const tags = new Map();
  const refreshList = async () => {
    if (!list || queue.offsetParent === null && getComputedStyle(queue).display === "none") return;
    let part;
    try { part = await fragment(list.dataset.list, reveal ? null : tags); }
    catch (error) { trouble.hidden = !navigator.onLine || !offline.hidden; throw error; }
    trouble.hidden = true;
    if (!part) return;
    const told = part.querySelector("[data-list]").dataset;
    if (badge) {
      badge.hidden = !told.unread;
      badge.firstElementChild.textContent = told.unread;
      badge.lastElementChild.textContent = told.unreadWords;
    }
    const fresh = [...part.querySelectorAll("[data-row]")];
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
          link.href = row.querySelector("a").href;
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
    if (added.length || waiting) said.textContent = put(words.newLeads, added.length + waiting);
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
    const pane = document.querySelector("[data-pane]");
    pane.setAttribute("aria-busy", "true");
    said.textContent = words.loading;
    try {
      await callfold.card.open(link.closest("[data-row]").dataset.row);
      history.pushState(null, "", link.href);
      markCurrent();
    } catch { location.href = link.href; } finally { pane.removeAttribute("aria-busy"); said.textContent = ""; }
  });
  addEventListener("popstate", () => location.reload());
  callfold.onLead(refreshListSoon);
  callfold.onStale(refreshListSoon);

  document.querySelector(".chips [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });

  // Keys ----------------------------------------------------------------------------------------------------------
  const keys = document.querySelector("[data-keys]");
  const showKeys = () => { if (!keys.open) keys.showModal(); };
  const move = (step) => {
    const links = [...list.querySelectorAll("[data-row] a")];
    if (!links.length) return;
    const open = links.findIndex((link) => link.hasAttribute("aria-current"));
    const at = links.indexOf(document.activeElement);
    const from = at >= 0 ? at : open;
    const next = from < 0 ? (step > 0 ? 0 : links.length - 1) : Math.min(links.length - 1, Math.max(0, from + step));
    links[next].focus();
  };
  const inList = () => list && (list.contains(document.activeElement) || document.activeElement === document.body);
  addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || keys?.open) return;
    if (event.target.closest("input, textarea, select, audio, [contenteditable]")) return;
    if (!list || queue.offsetParent === null && getComputedStyle(queue).display === "none") return;
    // By the key's place as well: with a Hebrew layout the key j writes another letter.
    const letter = (code, name) => event.key === name || event.code === code && !event.shiftKey;
    if (letter("KeyJ", "j") || event.key === "ArrowDown" && inList()) move(1);
    else if (letter("KeyK", "k") || event.key === "ArrowUp" && inList()) move(-1);
    else if (event.key === "?") showKeys();
    else if (event.key === "/" || event.code === "Slash" && !event.shiftKey) document.getElementById("q")?.focus();
    else return;
    event.preventDefault();
  });
  const keysButton = document.querySelector("[data-keys-open]");
  if (keysButton && keys) {
    keysButton.hidden = false;
    keysButton.addEventListener("click", () => { menu.open = false; showKeys(); });
  }

  // Menu: closes as menus do.
  const menu = document.querySelector("[data-menu]");
  addEventListener("click", (event) => { if (menu?.open && !menu.contains(event.target)) menu.open = false; });
  menu?.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    menu.open = false;
    menu.querySelector("summary").focus();
  });

  // Sound: off until a person switches it on, in this browser. ------------------------------------------------------
  const SOUND = "callfold_sound";
  const soundButton = document.querySelector("[data-sound]");
  const stored = () => { try { return localStorage.getItem(SOUND) === "on"; } catch { return false; } };
  let sound = stored(), audio = null;
  const ring = () => {
    // A browser lets a page sound only after a person touched it.
    if (navigator.userActivation && !navigator.userActivation.hasBeenActive) return;
    audio ??= new AudioContext();
    audio.resume();
    for (const [start, hertz] of [[0, 660], [.16, 880]]) {
      const tone = audio.createOscillator(), loud = audio.createGain(), at = audio.currentTime + start;
      tone.frequency.value = hertz;
      loud.gain.setValueAtTime(0, at);
      loud.gain.linearRampToValueAtTime(.15, at + .02);
      loud.gain.exponentialRampToValueAtTime(.001, at + .3);
      tone.connect(loud).connect(audio.destination);
      tone.start(at);
      tone.stop(at + .32);
    }
    document.documentElement.dataset.rang = Number(document.documentElement.dataset.rang ?? 0) + 1;
  };
  if (soundButton && "AudioContext" in window) {
    soundButton.hidden = false;
    soundButton.setAttribute("aria-pressed", sound);
    soundButton.addEventListener("click", () => {
      sound = !sound;
      soundButton.setAttribute("aria-pressed", sound);
      try { localStorage.setItem(SOUND, sound ? "on" : "off"); } catch { /* for this page only, then */ }
      if (sound) ring();
    });
  }
  // A call is told at each of its steps, and rings once; one that is over is no new one.
  const RUNG_MAX = 500, RUNNING = new Set(["new", "recording", "recorded", "downloaded", "transcribed"]);
  const rung = new Set();
  callfold.onLead((notice) => {
    if (rung.has(notice.call_sid) || !RUNNING.has(notice.status)) return;
    if (rung.size >= RUNG_MAX) rung.delete(rung.values().next().value);
    rung.add(notice.call_sid);
    if (sound && !list?.querySelector("[data-row='" + CSS.escape(notice.call_sid) + "']")) ring();
  });

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
