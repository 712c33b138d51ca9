// callfold: the card. Its tools come from app.js (`callfold`), which stands before this script. Everything here works
// without it too: forms are sent as forms, the browser's own player plays, details open by themselves.
"use strict";
(() => {
  // The story: the slider shows the card as it was while it is moved ---------------------------------------------
  const story = document.querySelector("[data-story]");
  if (story) {
    const slider = story.querySelector("[data-positions]");
    const positions = slider.dataset.positions.split(",");
    slider.form.querySelector("button").hidden = true;
    const reading = () => slider.setAttribute("aria-valuetext",
      slider.dataset.stepOf.replace("{}", slider.value).replace("{}", positions.length));
    let wanted = null, busy = false;
    const show = async () => {
      if (busy) return;
      busy = true;
      while (wanted !== null) {
        const at = wanted;
        wanted = null;
        try {
          const answer = await fetch(story.dataset.story + "?at=" + at, { headers: { "callfold-part": "card" }, cache: "no-store" });
          if (!answer.ok) throw new Error("story " + answer.status);
          const template = document.createElement("template");
          template.innerHTML = await answer.text(); // our own server's templates, in which everything is escaped
          story.querySelector("[data-past]").replaceWith(template.content.querySelector("[data-past]"));
        } catch { location.href = story.dataset.story + "?at=" + at; }
      }
      busy = false;
    };
    // Only the list itself moves: the page stays where the card is being looked at.
    const list = story.querySelector(".entries");
    const bring = (entry) => {
      if (list.scrollHeight > list.clientHeight) list.scrollTop = entry.offsetTop - list.clientHeight / 2;
      else if (getComputedStyle(list.parentElement).overflowY === "auto") entry.scrollIntoView({ block: "nearest" });
    };
    const choose = (at) => {
      for (const entry of story.querySelectorAll("[data-at]")) {
        const link = entry.querySelector("a");
        if (entry.dataset.at === at) { link.setAttribute("aria-current", "step"); bring(entry); }
        else link.removeAttribute("aria-current");
      }
      history.replaceState(null, "", "?at=" + at);
      wanted = at;
      show();
    };
    slider.addEventListener("input", () => { reading(); choose(positions[slider.value - 1]); });
    story.addEventListener("click", (event) => {
      const link = event.target.closest("[data-at] a");
      if (!link || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
      event.preventDefault();
      const at = link.closest("[data-at]").dataset.at;
      slider.value = positions.indexOf(at) + 1;
      reading();
      choose(at);
    });
    reading();
    const now = list.querySelector("[aria-current]");
    if (now) bring(now.parentElement);
  }

  const callfold = window.callfold;
  const pane = document.querySelector("[data-pane]");
  if (!callfold || !pane) return;
  const { fragment, gathered, put, remember, sent, tick } = callfold;
  const calm = matchMedia("(prefers-reduced-motion: reduce)");

  pane.tabIndex = -1; // where the keyboard goes on when what had it is gone
  const card = () => pane.querySelector("[data-sid]");
  const current = () => card()?.dataset.sid;

  // What a person typed and did not send yet outlives an exchange of its part, with the place of the cursor and with the
  // revision the typing began at: whoever changed the same meanwhile is not overwritten unseen.
  const fields = (part) => [...part.querySelectorAll("input[id], textarea[id], select[id]")];
  const isTyped = (field) => field.tagName === "SELECT"
    ? [...field.options].some((option) => option.selected !== option.defaultSelected)
    : field.type === "checkbox" ? field.checked !== field.defaultChecked
    : field.value !== field.defaultValue || field.dataset.draft !== undefined;
  const keep = (part) => ({
    typed: fields(part).filter(isTyped).map((field) => ({
      id: field.id, value: field.value, checked: field.checked, revision: field.form?.elements.revision?.value,
      name: field.name,
    })),
    open: [...part.querySelectorAll("details[id]")].map((details) => [details.id, details.open]),
    dialog: part.querySelector("dialog[open]")?.id,
    focus: part.contains(document.activeElement) ? document.activeElement : null,
    place: reachable(part).indexOf(document.activeElement),
  });
  const reachable = (part) => [...part.querySelectorAll("button, a[href], input:not([type=hidden]), select, textarea, summary, [tabindex]")];
  const restore = (part, kept, sentField) => {
    for (const { id, value, checked, revision, name } of kept.typed) {
      const field = part.querySelector("#" + CSS.escape(id));
      if (!field || name === sentField) continue;
      field.value = value;
      if (field.type === "checkbox") field.checked = checked;
      if (revision && field.form?.elements.revision) field.form.elements.revision.value = revision;
    }
    for (const [id, open] of kept.open) {
      const details = part.querySelector("#" + CSS.escape(id));
      if (details && open && !(sentField && details.querySelector('[name="' + sentField + '"]'))) details.open = true;
    }
    const dialog = kept.dialog && part.querySelector("#" + CSS.escape(kept.dialog));
    if (dialog) dialog.showModal();
    if (!kept.focus) return;
    const again = kept.focus.id && part.querySelector("#" + CSS.escape(kept.focus.id));
    const all = reachable(part);
    (again || all[Math.min(kept.place, all.length - 1)])?.focus({ preventScroll: true });
    if (again?.setSelectionRange && again.tagName === "TEXTAREA") {
      again.setSelectionRange(kept.focus.selectionStart, kept.focus.selectionEnd);
    }
  };

  // A part that differs in nothing but the revision its forms name stays: only the numbers are put in, but not where
  // somebody is typing.
  const bare = (html) => html?.replace(/name="revision" value="\d+"/g, "");
  const renumber = (part, revision) => {
    for (const field of part.querySelectorAll("input[name=revision]")) {
      if (!fields(field.form).some(isTyped)) field.value = revision;
    }
  };

  // Puts in what changed, part by part: an unchanged player goes on playing. `sentField` is what was just sent: its field
  // is as the server says, whatever was typed.
  const exchange = (fresh, sentField) => {
    const shown = card();
    if (!fresh || !shown || shown.dataset.sid !== fresh.dataset.sid) return false; // another card was opened meanwhile
    // The table may be behind what this page was just answered.
    if (Number(fresh.dataset.position) < Number(shown.dataset.position)) return false;
    const old = new Map([...shown.querySelectorAll("[data-part]")].map((part) => [part.dataset.part, part]));
    let before = null;
    for (const part of [...fresh.querySelectorAll("[data-part]")]) {
      const html = part.outerHTML;
      const there = old.get(part.dataset.part);
      old.delete(part.dataset.part);
      // What was shown at once and did not come about has to be put back.
      if (there && bare(sent.get(there)) === bare(html) && !there.querySelector("[data-busy]")) {
        renumber(there, fresh.dataset.revision);
        sent.set(there, html);
        before = there;
        continue;
      }
      sent.set(part, html);
      if (there) {
        const kept = keep(there);
        there.replaceWith(part);
        equip(part);
        restore(part, kept, sentField);
      } else {
        if (before) before.after(part); else shown.prepend(part);
        equip(part);
      }
      before = part;
    }
    for (const gone of old.values()) gone.remove();
    for (const name of ["position", "revision", "title"]) shown.dataset[name] = fresh.dataset[name];
    if ("unseen" in fresh.dataset) shown.dataset.unseen = ""; else delete shown.dataset.unseen;
    document.title = fresh.dataset.title;
    tick();
    left();
    follow();
    return true;
  };
  const refresh = async () => {
    const sid = current();
    if (!sid) return;
    try {
      exchange((await fragment("/leads/" + encodeURIComponent(sid) + "/card")).querySelector("[data-sid]"));
    } catch (error) {
      if (!/ (404|410)$/.test(error.message)) throw error;
      // Erased, by somebody else: nothing of it stays on the screen.
      if (current() !== sid) return;
      const text = document.createElement("p");
      text.className = "gone";
      text.setAttribute("role", "status");
      text.textContent = card().dataset.gone;
      document.title = text.textContent;
      toast.replaceChildren();
      pane.replaceChildren(text);
    }
  };
  const refreshSoon = gathered(refresh, 50);

  // How long it is until something is tried again ------------------------------------------------------------------
  const skew = Number(callfold.words.now) - Date.now();
  const left = () => {
    for (const el of pane.querySelectorAll("[data-until]")) {
      const seconds = Math.ceil((Number(el.dataset.until) - Date.now() - skew) / 1000);
      const time = seconds < 100 ? put(callfold.words.seconds, seconds) : put(callfold.words.minutes, Math.ceil(seconds / 60));
      const text = seconds > 0 ? " (" + put(card().dataset.left, time) + ")" : "";
      if (el.textContent !== text) el.textContent = text;
    }
  };
  setInterval(left, 1000);

  // What is said after an action -----------------------------------------------------------------------------------
  const NOTICE_MS = 12000; // long enough to read it and to change one's mind
  const toast = document.createElement("div");
  toast.className = "toast";
  toast.setAttribute("aria-live", "polite");
  document.body.append(toast);
  let fading = null;
  const rest = () => {
    clearTimeout(fading);
    if (!toast.querySelector(".bad")) fading = setTimeout(() => {
      // Nobody loses what they are about to press.
      if (toast.matches(":hover, :focus-within")) rest(); else toast.replaceChildren();
    }, NOTICE_MS);
  };
  const say = (notice) => {
    if (!notice) return;
    notice.removeAttribute("role"); // the place it is put in is announced
    const close = document.createElement("button");
    close.type = "button";
    close.className = "close";
    close.textContent = "×";
    close.setAttribute("aria-label", card()?.dataset.close ?? "");
    close.addEventListener("click", () => toast.replaceChildren());
    notice.append(close);
    toast.replaceChildren(notice);
    rest();
  };
  const complain = () => {
    const notice = document.createElement("div");
    notice.className = "notice bad";
    const text = document.createElement("p");
    text.textContent = card()?.dataset.notSaved ?? "";
    notice.append(text);
    say(notice);
  };

  // Actions: shown at once, confirmed by the server's own card, put back when it says no -------------------------------
  const atOnce = (form, button) => {
    if (!button?.matches("[aria-pressed]")) return () => {};
    const before = [...form.querySelectorAll("[aria-pressed]")].map((other) => [other, other.getAttribute("aria-pressed")]);
    for (const [other] of before) other.setAttribute("aria-pressed", "false");
    button.setAttribute("aria-pressed", before.find(([other]) => other === button)[1] === "true" ? "false" : "true");
    return () => { for (const [other, pressed] of before) other.setAttribute("aria-pressed", pressed); };
  };
  const act = async (form, button) => {
    if (form.dataset.busy !== undefined) return; // once is enough
    const body = new URLSearchParams(new FormData(form, button));
    const names = ["note", "transcript", "assignee", "tag", "caller_name", "callback_number", "from"];
    const sentField = names.find((name) => body.has(name)) ?? "";
    const back = atOnce(form, button);
    form.dataset.busy = "";
    try {
      const answer = await fetch(form.getAttribute("action"), {
        method: "POST", body, credentials: "same-origin", cache: "no-store", redirect: "error",
        headers: { "callfold-part": "card" },
      });
      if (answer.status === 401) { location.reload(); return; }
      if (!answer.ok && answer.status !== 412) throw new Error("change " + answer.status);
      const template = document.createElement("template");
      template.innerHTML = await answer.text(); // our own server's templates, in which everything is escaped
      const notice = template.content.querySelector("[data-notice]");
      const fresh = template.content.querySelector("[data-sid]");
      if (toast.contains(form)) { toast.replaceChildren(); pane.focus({ preventScroll: true }); }
      // What was refused stands in the field again, offered by the server.
      if (!exchange(fresh, sentField)) back();
      say(notice);
    } catch {
      back();
      complain();
    } finally {
      delete form.dataset.busy;
    }
  };
  document.addEventListener("submit", (event) => {
    const form = event.target.closest("form[data-act]");
    if (!form) return;
    event.preventDefault();
    act(form, event.submitter);
  });

  // Erasing asks first, in a dialog; without a script it is a page of its own.
  pane.addEventListener("click", (event) => {
    const ask = event.target.closest("[data-ask]");
    if (ask) {
      const dialog = document.getElementById(ask.dataset.ask);
      if (dialog?.showModal) { event.preventDefault(); dialog.showModal(); }
    }
    event.target.closest("[data-keep]")?.closest("dialog").close();
  });

  // Whoever opens a card has seen it: a page that is only prepared, or behind another one, is not open.
  const look = async () => {
    const shown = card();
    if (!shown || shown.dataset.unseen === undefined || document.visibilityState !== "visible" || document.prerendering) return;
    delete shown.dataset.unseen;
    // Any form of the card carries what every form needs.
    const form = shown.querySelector("form[data-act]");
    if (!form) return;
    const body = new URLSearchParams();
    for (const field of form.querySelectorAll("input[type=hidden]")) body.set(field.name, field.value);
    body.set("seen", "true");
    try {
      const answer = await fetch("/leads/" + encodeURIComponent(shown.dataset.sid) + "/change", {
        method: "POST", body, credentials: "same-origin", redirect: "error",
        headers: { "callfold-part": "card", "x-csrf-token": document.body.dataset.formToken ?? "" },
      });
      if (!answer.ok) return;
      const template = document.createElement("template");
      template.innerHTML = await answer.text();
      exchange(template.content.querySelector("[data-sid]"));
    } catch { /* it is seen the next time */ }
  };
  document.addEventListener("visibilitychange", look);

  // Sound ----------------------------------------------------------------------------------------------------------
  const SPEEDS = [1, 1.5, 2];
  const SVG = "http://www.w3.org/2000/svg";
  const svg = (name, attributes, ...children) => {
    const el = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) el.setAttribute(key, value);
    el.append(...children);
    return el;
  };
  const PLAY = "M7 4.5v15l13-7.5z", PAUSE = "M6 4.5h4.5v15H6zM13.5 4.5H18v15h-4.5z";
  const clock = (seconds) => {
    const whole = Math.max(0, Math.floor(seconds));
    const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, String(whole % 60).padStart(2, "0")];
    return h ? h + ":" + String(m).padStart(2, "0") + ":" + s : m + ":" + s;
  };
  let speed = 1; // whoever listens fast listens fast to the next one too

  const player = async (part) => {
    const audio = part.querySelector("audio");
    const words = card().dataset;
    const length = () => Number.isFinite(audio.duration) ? audio.duration : Number(part.dataset.millis) / 1000;
    const shape = svg("path", { d: PLAY });
    const button = document.createElement("button");
    button.type = "button";
    button.className = "play";
    button.append(svg("svg", { viewBox: "0 0 24 24", fill: "currentColor", "aria-hidden": "true" }, shape));
    const time = document.createElement("span");
    time.className = "num time";
    const fast = document.createElement("button");
    fast.type = "button";
    fast.className = "fast num";
    // Sound runs from left to right in Hebrew too, as voice messages do: the axis is that of the player, not of the text.
    const wave = document.createElement("div");
    wave.className = "wave";
    wave.dir = "ltr";
    wave.tabIndex = 0;
    for (const [name, value] of [["role", "slider"], ["aria-label", words.seek], ["aria-valuemin", "0"]]) wave.setAttribute(name, value);
    const bars = svg("path", {}), played = svg("path", { class: "played" });
    const clip = svg("rect", { x: 0, y: 0, width: 0, height: 32 });
    const id = "clip-" + part.dataset.sound;
    played.setAttribute("clip-path", "url(#" + id + ")");
    const drawing = svg("svg", { viewBox: "0 0 200 32", preserveAspectRatio: "none", "aria-hidden": "true" },
      svg("clipPath", { id }, clip), bars, played);
    const draw = (peaks) => {
      const step = 200 / peaks.length;
      const path = peaks.map((peak, n) => {
        const half = Math.max(.75, peak * .15), x = (n + .5) * step;
        return "M" + x.toFixed(2) + " " + (16 - half).toFixed(2) + "V" + (16 + half).toFixed(2);
      }).join("");
      for (const el of [bars, played]) { el.setAttribute("d", path); el.setAttribute("stroke-width", (step * .6).toFixed(2)); }
    };
    draw(new Array(100).fill(0));
    wave.append(drawing);
    const show = () => {
      const share = length() > 0 ? Math.min(1, audio.currentTime / length()) : 0;
      clip.setAttribute("width", (share * 200).toFixed(2));
      const text = clock(audio.currentTime) + " / " + clock(length());
      if (time.textContent !== text) time.textContent = text;
      wave.setAttribute("aria-valuemax", String(Math.round(length())));
      wave.setAttribute("aria-valuenow", String(Math.round(audio.currentTime)));
      wave.setAttribute("aria-valuetext", text);
      shape.setAttribute("d", audio.paused ? PLAY : PAUSE);
      button.setAttribute("aria-label", audio.paused ? words.play : words.pause);
      fast.textContent = audio.playbackRate + "×";
      fast.setAttribute("aria-label", words.speed + " " + audio.playbackRate + "×");
    };
    const seek = (seconds) => { audio.currentTime = Math.min(Math.max(0, seconds), length()); show(); follow(); };
    button.addEventListener("click", () => { if (audio.paused) start(audio); else audio.pause(); });
    fast.addEventListener("click", () => {
      speed = SPEEDS[(SPEEDS.indexOf(audio.playbackRate) + 1) % SPEEDS.length];
      audio.playbackRate = speed;
      show();
    });
    const place = (event) => {
      const box = wave.getBoundingClientRect();
      seek((event.clientX - box.left) / box.width * length()); // x runs from the left in every language
    };
    wave.addEventListener("pointerdown", (event) => { wave.setPointerCapture(event.pointerId); place(event); });
    wave.addEventListener("pointermove", (event) => { if (wave.hasPointerCapture(event.pointerId)) place(event); });
    wave.addEventListener("keydown", (event) => {
      const steps = { ArrowRight: 5, ArrowLeft: -5, ArrowUp: 5, ArrowDown: -5, PageUp: 30, PageDown: -30, Home: -Infinity, End: Infinity };
      if (event.key === " " || event.key === "Enter") { event.preventDefault(); button.click(); return; }
      if (!(event.key in steps)) return;
      event.preventDefault();
      seek(audio.currentTime + steps[event.key]);
    });
    for (const name of ["play", "pause", "ended", "seeked", "loadedmetadata", "ratechange", "durationchange"]) audio.addEventListener(name, show);
    audio.addEventListener("timeupdate", () => { show(); follow(); });
    audio.addEventListener("error", () => { audio.controls = true; part.querySelector(".player")?.remove(); });
    const box = document.createElement("div");
    box.className = "player";
    box.append(button, wave, time, fast);
    audio.controls = false;
    part.append(box);
    show();
    try {
      const answer = await fetch(part.dataset.peaks, { credentials: "same-origin" });
      if (answer.ok) draw((await answer.json()).peaks);
    } catch { /* a line will do */ }
  };

  // One sound at a time.
  const start = (audio, seconds) => {
    for (const other of pane.querySelectorAll("audio")) if (other !== audio) other.pause();
    audio.playbackRate = speed;
    const go = () => {
      if (seconds !== undefined) audio.currentTime = seconds;
      audio.play().catch(() => { /* the browser asks for another click */ });
    };
    if (audio.readyState > 0 || seconds === undefined) go();
    else { audio.addEventListener("loadedmetadata", go, { once: true }); audio.load(); }
  };

  // The transcript follows the sound ---------------------------------------------------------------------------------
  let handsOn = 0; // when the reader scrolled last: whoever reads elsewhere is not pulled back
  for (const name of ["wheel", "touchmove", "keydown"]) addEventListener(name, () => { handsOn = Date.now(); }, { passive: true });
  const follow = () => {
    for (const sound of pane.querySelectorAll("[data-sound]")) {
      const audio = sound.querySelector("audio");
      const heard = [...pane.querySelectorAll("[data-heard]")].find((part) => part.dataset.heard === sound.dataset.sound);
      if (!heard) continue;
      const now = audio.currentTime * 1000;
      const begun = !audio.paused || audio.currentTime > 0;
      let at = null;
      for (const piece of begun ? heard.querySelectorAll("[data-start]") : []) {
        if (Number(piece.dataset.start) > now + 50) break;
        at = now < Number(piece.dataset.end) + 400 ? piece : null; // in a pause nothing is being said
      }
      const before = heard.querySelector(".hear");
      if (before === at) continue;
      before?.classList.remove("hear");
      before?.removeAttribute("aria-current");
      if (!at) continue;
      at.classList.add("hear");
      at.setAttribute("aria-current", "true");
      if (audio.paused) continue;
      const folded = at.closest("details");
      if (folded) folded.open = true;
      const box = at.getBoundingClientRect();
      const isOut = box.top < 80 || box.bottom > innerHeight - 120;
      if (isOut && Date.now() - handsOn > 4000) at.scrollIntoView({ block: "center", behavior: calm.matches ? "auto" : "smooth" });
    }
  };
  pane.addEventListener("click", (event) => {
    const piece = event.target.closest("[data-heard] [data-start]");
    if (!piece || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    // Whoever marks words to copy them does not want to hear them.
    if (!event.target.closest(".at") && String(getSelection()).trim()) return;
    const sid = piece.closest("[data-heard]").dataset.heard;
    const sound = [...pane.querySelectorAll("[data-sound]")].find((part) => part.dataset.sound === sid);
    if (!sound) return;
    event.preventDefault();
    start(sound.querySelector("audio"), Number(piece.dataset.start) / 1000);
  });

  // A part that just came from the server.
  const equip = (part) => {
    if (part.dataset.sound !== undefined && part.querySelector("audio")) player(part);
  };

  const open = async (sid) => {
    pane.replaceChildren(await fragment("/leads/" + encodeURIComponent(sid) + "/card"));
    remember(pane);
    settle();
    window.scrollTo({ top: 0 });
    tick();
  };
  const settle = () => {
    const shown = card();
    if (!shown) return;
    document.title = shown.dataset.title;
    say(pane.querySelector("[data-notice]"));
    // What was just done is said once, not again with every reload.
    const here = new URL(location.href);
    if (here.searchParams.has("position")) {
      for (const name of ["did", "position"]) here.searchParams.delete(name);
      history.replaceState(history.state, "", here);
    }
    for (const part of shown.querySelectorAll("[data-part]")) equip(part);
    left();
    look();
  };

  callfold.card = { current, open };
  callfold.onLead((notice) => { if (notice.call_sid === current()) refreshSoon(); });
  callfold.onStale(refreshSoon);
  settle();
})();
