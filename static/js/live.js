// Parts of a page that update by themselves: one request at a time for the whole page, swapped without touching what a
// person does there, and announced once to screen readers. docs/interface.md lists the attributes.
(function () {
  "use strict";
  const one = (selector, from = document) => from.querySelector(selector);
  const all = (selector, from = document) => Array.from(from.querySelectorAll(selector));

  // --- Polling ----------------------------------------------------------------------------------
  const GAP = 2100; // less than thirty requests in any minute, whatever the page shows
  const SLOWEST = 30_000;
  const parts = new Map(); // by ID: when its next request is due, and what its last answer said
  const isPoll = (event) => event.detail.requestConfig?.triggeringEvent?.type === "poll";
  let inFlight = null;
  let lastSent = -GAP;

  function partOf(element) {
    const base = Number(element.dataset.poll) * 1000;
    if (!parts.has(element.id)) parts.set(element.id, { wait: base, due: performance.now() + base, said: null });
    return Object.assign(parts.get(element.id), { base });
  }
  function tick() {
    const now = performance.now();
    // The end of a request is not heard when its element left the page, or "back" brought the page without it.
    if (inFlight && (!inFlight.isConnected || now - lastSent > window.htmx.config.timeout + GAP)) inFlight = null;
    if (document.hidden || inFlight || now - lastSent < GAP) return;
    const due = all("[data-poll]").filter((each) => partOf(each).due <= now && !isAwaited(each));
    due.sort((a, b) => partOf(a).due - partOf(b).due || partOf(a).base - partOf(b).base);
    if (!due.length) return;
    lastSent = now;
    partOf(due[0]).due = now + partOf(due[0]).wait;
    due[0].dispatchEvent(new CustomEvent("poll")); // It must not bubble: a poll around it is another one.
  }
  function allAtOnce() {
    const now = performance.now();
    for (const each of all("[data-poll]")) Object.assign(partOf(each), { wait: partOf(each).base, due: now });
    tick(); // what changes fastest comes first
  }
  // What differs in each answer without being news: tokens, and the age of things.
  const news = (text) => text.replace(/value="[\w-]{32,}"|<time [^>]*>[^<]*<\/time>/g, "");
  function slowDownUnlessNew(element, text) {
    const part = partOf(element);
    const said = news(text);
    part.wait = said === part.said ? Math.max(part.base, Math.min(part.wait * 1.5, SLOWEST)) : part.base;
    part.due = performance.now() + part.wait;
    part.said = said;
  }

  // A page that is not updated must not look as if it were.
  let updatedAt = new Date();
  function showStale(status) {
    const note = one("#stale");
    if (!note) return;
    const words = status === 401 ? note.dataset.signedOut : note.dataset.stale;
    note.textContent = words.replace("{time}", updatedAt.toLocaleTimeString(document.documentElement.lang, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" }));
    if (status === 401) {
      const link = document.createElement("a");
      Object.assign(link, { href: document.body.dataset.signIn, target: "_blank", rel: "noopener", textContent: note.dataset.signIn });
      note.append(" ", link);
    }
    note.hidden = false;
  }
  function showFresh() {
    updatedAt = new Date();
    const note = one("#stale");
    if (note) note.hidden = true;
  }

  // --- One answer per part: the one asked for last --------------------------------------------------
  const asked = new Map(); // target -> the element whose GET is under way
  const dropped = new WeakSet(); // whose request was ended, because a newer one took its place
  const isAwaited = (element) => Array.from(asked).some(([target, by]) => by.isConnected && target.contains(element));
  document.addEventListener("htmx:beforeSend", (event) => {
    const { elt, target, requestConfig } = event.detail;
    if (requestConfig.verb !== "get" || !target) return;
    if (isPoll(event)) inFlight = elt;
    for (const [older, by] of asked) {
      // Of two requests of a person for one part, and of a person's and a poll's inside it, the older is pointless.
      // What loads after the page is not in the answer.
      if (by === elt || !target.contains(older) || (older !== target && loads(by))) continue;
      dropped.add(by);
      window.htmx.trigger(by, "htmx:abort");
    }
    asked.set(target, elt);
  });
  document.addEventListener("htmx:afterRequest", (event) => {
    const { elt, target, xhr, successful } = event.detail;
    if (asked.get(target) === elt) asked.delete(target);
    if (inFlight !== elt || !isPoll(event)) return;
    inFlight = null;
    if (successful) return showFresh();
    const part = partOf(elt);
    part.wait = Math.min(part.wait * 1.5, SLOWEST);
    part.due = performance.now() + part.wait;
    if (!dropped.delete(elt)) showStale(xhr?.status);
  });

  // --- Morphing: what a person did to an element stays --------------------------------------------------
  const isChanged = (field) => {
    if (field.type === "checkbox" || field.type === "radio") return field.checked !== field.defaultChecked;
    if (field.options) return Array.from(field.options).some((each) => each.selected !== each.defaultSelected);
    return field.value !== field.defaultValue;
  };
  const KEPT = "form[data-changed], form[data-sending]"; // typed, or on its way
  const isTyped = (node) => node.nodeType === 1 && (node.matches(KEPT) || (node.matches("input:not([type=hidden]), select, textarea") && isChanged(node)));
  const loads = (node) => node.nodeType === 1 && node.getAttribute("hx-trigger")?.startsWith("load");
  Object.assign(window.Idiomorph.defaults.callbacks, {
    // What loads after the page stands in the answer as it was before that.
    beforeNodeMorphed: (old, fresh) => !(isTyped(old) || (loads(old) && loads(fresh))),
    beforeNodeRemoved: (old) => !(isTyped(old) || (old.nodeType === 1 && one(KEPT, old))),
    beforeAttributeUpdated: (name, element) => !(name === "open" && element.matches("details, dialog")),
  });

  // --- Announcements ---------------------------------------------------------------------------------------
  const BY_ITSELF = ["poll", "operation-ended", "operation-stuck", "operations-changed", "timeline-changed"];
  let told = new Map();
  const toTell = () => new Map(all("[data-announce]").map((each) => [each.id, each.dataset.announce]));
  function announce(text) {
    const region = one("#announcer");
    if (!region || !text) return;
    const open = one("#dialog")?.open ? one("#dialog") : document.body; // What is outside an open dialog is silent.
    if (region.parentElement !== open) open.append(region);
    const words = document.createElement("p");
    words.textContent = text;
    region.append(words);
    setTimeout(() => words.remove(), 10_000);
  }
  function tell(event) {
    const now = toTell();
    if (BY_ITSELF.includes(event.detail.requestConfig?.triggeringEvent?.type)) {
      for (const [id, text] of now) if (told.get(id) !== text) announce(text);
    }
    told = now;
  }
  // At once: before it settles, another answer may take it away or pass for what a person asked for. What isn't morphed
  // has its new attributes only then.
  document.addEventListener("htmx:afterSwap", tell);
  document.addEventListener("htmx:afterSettle", tell);

  document.addEventListener("htmx:beforeSwap", (event) => {
    const { elt, requestConfig, xhr } = event.detail;
    if (requestConfig?.triggeringEvent?.type === "poll" && xhr.status === 200) slowDownUnlessNew(elt, xhr.responseText);
  });
  document.addEventListener("visibilitychange", () => { if (!document.hidden) allAtOnce(); });
  window.addEventListener("focus", () => { if (one("#stale:not([hidden])")) allAtOnce(); });
  window.addEventListener("online", allAtOnce);
  window.addEventListener("offline", () => showStale(0));
  document.addEventListener("operations-changed", allAtOnce);
  setInterval(tick, 250);
  window.portal = { announce };
  document.addEventListener("DOMContentLoaded", () => { told = toTell(); });
})();
