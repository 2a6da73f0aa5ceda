// Progressive enhancements: pages work without them. Depends only on htmx's events. docs/interface.md lists the attributes.
(function () {
  "use strict";
  const root = document.documentElement;
  const one = (selector, from = document) => from.querySelector(selector);
  const all = (selector, from = document) => Array.from(from.querySelectorAll(selector));
  const toasts = () => one("#toasts");
  const dialog = () => one("#dialog");

  // --- A text that is cut shows itself whole ------------------------------------------------------
  document.addEventListener("mouseover", (event) => {
    const cell = event.target.closest?.(".pk-cut:not([title])");
    if (cell && cell.scrollWidth > cell.clientWidth) cell.title = cell.innerText.trim();
  });

  // --- Toasts -----------------------------------------------------------------------------------
  function toast(text, { kind = "info", link = null, stays = kind === "danger" } = {}) {
    const region = toasts();
    if (!region || !text) return;
    if (all(".pk-toast p", region).some((shown) => shown.dataset.text === text)) return;
    const box = document.createElement("div");
    box.className = `pk-toast pk-toast-${kind}`;
    const words = document.createElement("p");
    words.dataset.text = text;
    words.textContent = text;
    if (link) {
      const anchor = document.createElement("a");
      Object.assign(anchor, { href: link.href, textContent: link.text, target: "_blank", rel: "noopener" });
      words.append(" ", anchor);
    }
    const close = document.createElement("button");
    close.type = "button";
    close.textContent = "\u00d7";
    close.setAttribute("aria-label", region.dataset.close);
    close.addEventListener("click", () => box.remove());
    box.append(words, close);
    raise(region);
    region.append(box);
    if (!stays) setTimeout(() => box.remove(), 6000);
  }

  // A modal dialog covers everything outside it, so while one is open its toasts must live inside.
  function raise(region) {
    const open = dialog()?.open ? dialog() : document.body;
    if (region.parentElement !== open) open.append(region);
  }

  // What replaces the content of the dialog would remove them with it.
  function bringOut() {
    document.body.append(...all("#toasts, #announcer", dialog()));
  }

  function signedOut() {
    const words = toasts()?.dataset ?? {};
    toast(words.signedOut, { kind: "danger", link: { href: document.body.dataset.signIn, text: words.signIn } });
  }

  function explain(xhr) {
    const words = toasts()?.dataset ?? {};
    const texts = {
      400: words.badRequest, 403: words.forbidden, 404: words.gone, 409: words.conflict, 410: words.gone,
      413: words.tooLarge, 429: words.slowDown, 503: words.unavailable,
    };
    if (xhr.status === 401) return signedOut();
    const number = xhr.getResponseHeader("X-Request-ID");
    let text = texts[xhr.status] ?? words.failed;
    if (xhr.status >= 500 && number) text += ` ${words.number} ${number}.`;
    toast(text, { kind: xhr.status === 409 || xhr.status === 429 ? "warn" : "danger" });
  }

  // --- Theme: light, dark, as the system ----------------------------------------------------------
  const THEMES = ["system", "light", "dark"];
  function showTheme() {
    const now = root.dataset.theme || "system";
    for (const button of all("[data-theme-toggle]")) {
      button.hidden = false;
      button.title = button.dataset[now];
      button.setAttribute("aria-label", button.dataset[now]);
    }
  }
  function nextTheme() {
    const next = THEMES[(THEMES.indexOf(root.dataset.theme) + 1) % THEMES.length];
    root.dataset.theme = next;
    try {
      if (next === "system") localStorage.removeItem("theme");
      else localStorage.setItem("theme", next);
    } catch { /* Not kept, then. */ }
    showTheme();
  }

  // --- Copy ---------------------------------------------------------------------------------------
  async function copy(button) {
    try {
      await navigator.clipboard.writeText(button.dataset.copy);
    } catch {
      const field = document.createElement("textarea");
      field.value = button.dataset.copy;
      field.className = "pk-sr";
      button.after(field);
      field.select();
      document.execCommand("copy");
      field.remove();
      button.focus();
    }
    toast(toasts()?.dataset.copied, { kind: "good" });
  }

  // --- Selected rows and the bulk bar -----------------------------------------------------------------
  function showTicked(form) {
    const rows = all("[data-row]", form);
    const ticked = rows.filter((box) => box.checked);
    for (const box of rows) box.closest("tr")?.classList.toggle("pk-chosen", box.checked);
    const head = one("[data-all]", form);
    if (head) {
      head.checked = rows.length > 0 && ticked.length === rows.length;
      head.indeterminate = ticked.length > 0 && ticked.length < rows.length;
    }
    const bar = one(".pk-bulk", form);
    if (!bar) return;
    bar.hidden = ticked.length === 0;
    const count = one("[data-bulk-count]", bar);
    if (count) {
      const words = ticked.length === 1 ? count.dataset.one : count.dataset.many;
      count.textContent = (words ?? "{n}").replace("{n}", ticked.length);
    }
  }
  let lastTicked = null;
  function tickRange(box, form) {
    const rows = all("[data-row]", form);
    const [from, to] = [rows.indexOf(lastTicked), rows.indexOf(box)].sort((a, b) => a - b);
    if (from >= 0) rows.slice(from, to + 1).forEach((row) => { row.checked = box.checked; });
  }
  function setAll(form, checked) {
    all("[data-row]", form).forEach((box) => { box.checked = checked; });
    showTicked(form);
  }

  // --- Steppers ---------------------------------------------------------------------------------------
  function showStepper(stepper) {
    const field = one("input", stepper);
    for (const button of all("[data-step]", stepper)) {
      button.hidden = false;
      const down = Number(button.dataset.step) < 0;
      const value = Number(field.value || 0);
      button.disabled = field.disabled || (down ? field.min !== "" && value <= Number(field.min) : field.max !== "" && value >= Number(field.max));
    }
  }
  function step(button) {
    const stepper = button.closest("[data-stepper]");
    const field = one("input", stepper);
    if (Number(button.dataset.step) > 0) field.stepUp(); else field.stepDown();
    field.dispatchEvent(new Event("input", { bubbles: true }));
    field.dispatchEvent(new Event("change", { bubbles: true }));
    showStepper(stepper);
    if (button.disabled) field.focus();
  }

  // --- Unsaved changes ----------------------------------------------------------------------------------
  window.addEventListener("beforeunload", (event) => {
    if (one("form[data-changed]:not([data-sending])")) event.preventDefault();
  });

  // --- Sending ------------------------------------------------------------------------------------------
  // One request of a form at a time. What is being sent stays as it is: an answer may replace the form.
  function startSending(form) {
    form.dataset.sending = "";
    form.setAttribute("aria-busy", "true");
    for (const field of all("input, textarea", form)) {
      if (!field.readOnly) Object.assign(field, { readOnly: true }).dataset.wasOpen = "";
    }
    const note = document.createElement("p");
    note.className = "pk-sending";
    note.setAttribute("role", "status");
    (one(".pk-dialog-foot", form) ?? form).append(note);
    // An empty live region first: a screen reader announces what changes in it.
    setTimeout(() => { note.textContent = toasts()?.dataset.sending ?? ""; }, 400);
  }
  function endSending(form) {
    delete form.dataset.sending;
    form.removeAttribute("aria-busy");
    for (const field of all("[data-was-open]", form)) {
      field.readOnly = false;
      delete field.dataset.wasOpen;
    }
    all(".pk-sending", form).forEach((note) => note.remove());
  }
  const sends = (event) => event.detail.requestConfig.verb !== "get" && event.detail.elt.matches("form") && event.detail.elt;
  // Before htmx and the browser: a second Enter sends nothing.
  document.addEventListener("submit", (event) => {
    if (!event.target.hasAttribute("data-sending")) return;
    event.preventDefault();
    event.stopImmediatePropagation();
  }, true);
  document.addEventListener("submit", (event) => {
    const form = event.target;
    const stays = form.hasAttribute("hx-post") || form.target || event.submitter?.formTarget;
    if (event.defaultPrevented || form.method !== "post" || stays) return;
    // Asked here: the browser's own question does not tell that the person stays, and the form would wait forever.
    const others = all("form[data-changed]").filter((each) => each !== form);
    if (others.length && !window.confirm(toasts()?.dataset.discard)) return event.preventDefault();
    others.forEach((each) => { delete each.dataset.changed; });
    startSending(form);
  });
  window.addEventListener("pageshow", () => all("form[data-sending]").forEach(endSending));

  // A token that another tab renewed by signing in: the server names the present one, and the form is sent again, once.
  function sendAgain({ elt, xhr, requestConfig }) {
    const token = xhr.status === 403 && xhr.getResponseHeader("X-CSRFToken");
    if (!token || elt.hasAttribute("data-sent-again")) return false;
    all("input[name=csrfmiddlewaretoken]").forEach((field) => { field.value = token; });
    const headers = JSON.parse(document.body.getAttribute("hx-headers"));
    document.body.setAttribute("hx-headers", JSON.stringify({ ...headers, "X-CSRFToken": token }));
    elt.dataset.sentAgain = "";
    const by = requestConfig.triggeringEvent;
    setTimeout(() => { // after htmx and this script have ended the first request
      if (elt.matches("form")) elt.requestSubmit(by?.submitter ?? null);
      else window.htmx.trigger(by?.target?.isConnected ? by.target : elt, by?.type ?? "click"); // heard where it was
    });
    return true;
  }

  // --- The dialog -----------------------------------------------------------------------------------------
  let opener = null;
  function openDialog() {
    const box = dialog();
    if (!box || !box.firstElementChild) return;
    if (!box.open) {
      opener ??= document.activeElement;
      box.showModal();
    }
    if (toasts()?.childElementCount) raise(toasts());
    const field = one("[data-focus], [autofocus]", box) ?? one("input:not([type=hidden]), select, textarea, button", box);
    // It opens at its top. A field that is not in sight there leaves the focus to the question above it.
    const body = field?.closest(".pk-dialog-body");
    if (body) body.scrollTop = 0;
    const below = body && field.getBoundingClientRect().bottom > body.getBoundingClientRect().bottom;
    const question = below && one("h2", box);
    if (question) question.tabIndex = -1;
    (question || field)?.focus({ preventScroll: true });
  }
  function closeDialog() {
    if (dialog()?.open) dialog().close();
  }
  // A person closes it: not while its answer is on the way, and not with typed text without a question.
  function mayClose() {
    const box = dialog();
    if (one("form[data-sending]", box)) return false;
    return !one("form[data-changed]", box) || window.confirm(toasts()?.dataset.discard);
  }
  function dialogClosed() {
    const box = dialog();
    bringOut();
    box.replaceChildren();
    // In a menu that closed meanwhile, its button; after a swap, the element that has its ID now.
    const back = opener?.isConnected ? opener : opener?.id && document.getElementById(opener.id);
    const menu = back && back.closest("details.pk-drop:not([open])");
    (menu ? one("summary", menu) : back)?.focus();
    opener = null;
  }
  // A click on the backdrop is a click on the dialog itself. It must not discard input.
  function clickedBeside(event) {
    if (event.target === dialog() && mayClose()) closeDialog();
  }

  // --- Initialization of new elements ----------------------------------------------------------------
  function prepare(part) {
    all("[data-copy]", part).forEach((button) => { button.hidden = false; });
    all("[data-stepper]", part).forEach(showStepper);
    all("form[data-bulk]", part).forEach(showTicked);
    if (part.closest("form[data-bulk]")) showTicked(part.closest("form[data-bulk]"));
    for (const each of all("[data-noscript], [data-noscript] button", part)) {
      if (each.matches("[data-noscript]")) each.hidden = true;
      if (each.matches("button")) each.type = "button"; // Enter would press it: the first button of a form is its default.
    }
    // A form shown again with its errors holds what was typed.
    for (const form of all("form[method=post]", part)) if (one(".pk-errors, .pk-form-errors", form)) form.dataset.changed = "";
    if (!part.closest("#dialog")) one("[data-focus]", part)?.focus(); // a dialog has its own rule
  }

  // --- Event listeners ----------------------------------------------------------------------------------------------
  document.addEventListener("click", (event) => {
    const target = event.target.closest("button, summary, a, input");
    clickedBeside(event);
    if (!event.target.closest(".pk-drop")) closeMenus();
    else closeMenus(event.target.closest(".pk-drop"));
    if (!target) return;
    if (target.matches("[data-theme-toggle]")) nextTheme();
    if (target.matches("[data-copy]")) copy(target);
    if (target.matches("[data-close]") && mayClose()) closeDialog();
    if (target.matches("[data-step]")) step(target);
    if (target.matches("[data-bulk-clear]")) setAll(target.closest("form"), false);
    if (target.matches("[data-row]")) {
      if (event.shiftKey) tickRange(target, target.form);
      lastTicked = target;
      showTicked(target.form);
    }
    if (target.matches("[data-all]")) setAll(target.form, target.checked);
    if (target.matches('[hx-target="#dialog"]') && !target.closest("#dialog")) opener = target;
  });
  function closeMenus(except = null) {
    for (const menu of all("details.pk-drop[open]")) if (menu !== except && !menu.contains(except)) menu.open = false;
  }
  document.addEventListener("keydown", (event) => {
    const typing = event.target.matches("input, textarea, select, [contenteditable]");
    if (((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") || (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey)) {
      const field = one("[data-search]");
      if (field && !dialog()?.open) {
        event.preventDefault();
        field.focus();
        field.select();
      }
    }
    if (event.key === "Escape") {
      const menu = one("details.pk-drop[open]");
      if (menu) {
        closeMenus();
        one("summary", menu).focus();
      }
      if (!dialog()?.open) return;
      event.preventDefault(); // of a second Escape the browser sends no "cancel": it closes the dialog
      if (!dialog().contains(menu) && mayClose()) closeDialog();
    }
  });
  document.addEventListener("input", (event) => {
    const form = event.target.form;
    if (form?.method === "post") form.dataset.changed = "";
    const stepper = event.target.closest("[data-stepper]");
    if (stepper) showStepper(stepper);
  });
  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-submit]")) event.target.form.requestSubmit();
    // A candidate is selected to be linked.
    if (event.target.dataset.selects) one(event.target.dataset.selects, event.target.form).checked = true;
    // A confirmation counts for what was chosen when it was given.
    const chosen = event.target.matches("[name=package], [data-stepper] input") && event.target.form;
    if (chosen) all("[data-confirms]").forEach((box) => { box.checked = false; });
  });
  document.addEventListener("submit", (event) => {
    if (!event.target.hasAttribute("hx-post")) delete event.target.dataset.changed;
  });
  document.addEventListener("reset", (event) => { delete event.target.dataset.changed; });
  window.addEventListener("pageshow", () => all("form[data-bulk]").forEach(showTicked));
  // One-time content must not reappear when the browser restores the page on "back".
  window.addEventListener("pagehide", () => all("[data-once]").forEach((box) => box.replaceChildren()));

  // --- htmx -----------------------------------------------------------------------------------------------------
  const polls = (event) => event.detail.requestConfig?.triggeringEvent?.type === "poll";
  const isDialog = (event) => event.detail.target?.id === "dialog";
  document.addEventListener("htmx:beforeRequest", (event) => {
    const { elt, requestConfig } = event.detail;
    const form = sends(event);
    // The dialog is open already: a second press of the link that opened it would replace what is typed there.
    const twice = requestConfig.verb === "get" && isDialog(event) && dialog()?.open && !dialog().contains(elt);
    if (twice) event.preventDefault();
    else if (form) startSending(form);
  });
  // --- The page that follows ------------------------------------------------------------------------------------
  // A browser begins it at the very top, and screen readers pass over a message that was there from the beginning.
  const LED = "led";
  function rememberLed() {
    try { sessionStorage.setItem(LED, ""); } catch { /* Then it begins at the top. */ }
  }
  window.addEventListener("pagehide", () => { if (one("form[data-sending]")) rememberLed(); });
  function arrive() {
    try {
      if (sessionStorage.getItem(LED) === null) return;
      sessionStorage.removeItem(LED);
    } catch { return; }
    const heading = one("h1");
    if (!heading || document.activeElement !== document.body || one("[autofocus]")) return;
    heading.tabIndex = -1;
    heading.focus({ preventScroll: true });
    const news = all("main [role=status], main [role=alert], main [data-announce]").filter((each) => !each.closest("tr"));
    setTimeout(() => { // after the heading
      for (const each of news) window.portal.announce((each.dataset.announce ?? each.textContent).trim().replace(/\s+/g, " "));
    }, 400);
  }

  // A redirect to the sign-in page must not discard input; a page without input follows it.
  document.addEventListener("htmx:beforeOnLoad", (event) => {
    const xhr = event.detail.xhr;
    const leads = xhr.getResponseHeader("HX-Redirect") ?? "";
    const toSignIn = document.body.dataset.signIn && leads.split("?")[0].endsWith(document.body.dataset.signIn);
    if (toSignIn && one("form[data-changed]")) {
      event.preventDefault();
      if (!polls(event)) signedOut(); // of polls live.js says it
    } else if (leads && xhr.status < 400) {
      const form = sends(event);
      if (form) delete form.dataset.changed;
      // It leads back to this page, where something else is being typed: what changed is fetched, and the text stays.
      if (leads.split("?")[0] === location.pathname && one("form[data-changed]")) {
        event.preventDefault();
        closeDialog();
        for (const name of ["operation-ended", "operations-changed"]) document.body.dispatchEvent(new CustomEvent(name, { bubbles: true }));
      } else {
        rememberLed();
      }
    }
  });
  document.addEventListener("htmx:beforeSwap", (event) => {
    // A list that refuses its filters says so in its place.
    const { xhr } = event.detail;
    if (xhr.status === 400 && xhr.getResponseHeader("X-Refused-Filters")) Object.assign(event.detail, { shouldSwap: true, isError: false });
    // What was sent is saved, or comes back in the answer: it is not unsaved text any more.
    const form = sends(event);
    if (form && event.detail.shouldSwap) delete form.dataset.changed;
    if (isDialog(event) && event.detail.shouldSwap) bringOut();
  });
  document.addEventListener("htmx:afterRequest", (event) => {
    if (event.detail.xhr.status !== 403) delete event.detail.elt.dataset.sentAgain;
    const form = sends(event);
    if (!form) return;
    // Until the page that follows is there, it stays as it was sent.
    const leaves = event.detail.successful && event.detail.xhr.getResponseHeader("HX-Redirect");
    if (leaves) setTimeout(endSending, 5000, form); // unless somebody chose to stay
    else endSending(form);
    if (event.detail.successful) delete form.dataset.changed;
  });
  // The page says by itself that its own updates fail (live.js).
  document.addEventListener("htmx:responseError", (event) => {
    if (!polls(event) && !sendAgain(event.detail)) explain(event.detail.xhr);
  });
  for (const [failure, words] of [["htmx:sendError", "network"], ["htmx:timeout", "noAnswer"]]) {
    document.addEventListener(failure, (event) => {
      if (!polls(event)) toast(toasts()?.dataset[words], { kind: "danger" });
    });
  }

  // --- The focus over a swap ------------------------------------------------------------------------------------
  // htmx finds an element again by its ID. Without one, what looks the same takes the focus, else the part itself.
  const FOCUSABLE = "a[href], button, summary, input, select, textarea";
  function sameIn(part, was) {
    const looks = (each) => `${each.tagName} ${each.name ?? ""} ${each.textContent.trim()}`;
    const same = all(FOCUSABLE, part).find((each) => looks(each) === looks(was));
    if (same) return same;
    for (let box = was.closest("[id]"); box; box = box.parentElement?.closest("[id]")) {
      const now = one(`#${CSS.escape(box.id)}`, part);
      if (now) return one(FOCUSABLE, now);
    }
    return null;
  }
  const left = new WeakMap(); // of each request whose answer is being swapped: what had the focus in its part
  document.addEventListener("htmx:beforeSwap", (event) => {
    const { target, xhr } = event.detail;
    const now = document.activeElement;
    if (target?.contains(now) && now !== document.body) left.set(xhr, now);
  });
  function giveBack(event) {
    const { elt, target, xhr } = event.detail;
    const was = left.get(xhr);
    const settled = event.type === "htmx:afterSettle";
    const part = elt?.isConnected ? elt : document.getElementById(target?.id);
    if (settled) left.delete(xhr);
    if (!was || was.isConnected || !part || (document.activeElement && document.activeElement !== document.body)) return;
    const same = sameIn(part, was);
    if (!same && !settled) return;
    if (!same) part.setAttribute("tabindex", "-1");
    (same ?? part).focus({ preventScroll: true });
  }
  // At once, or a key pressed before the part has settled is lost; and once more, when all that it has is in place.
  document.addEventListener("htmx:afterSwap", giveBack);
  document.addEventListener("htmx:afterSettle", giveBack);
  document.addEventListener("htmx:load", (event) => prepare(event.detail.elt));
  document.addEventListener("htmx:afterSwap", (event) => {
    if (event.detail.target.id === "dialog") openDialog();
  });
  // After paging, sorting or filtering, scroll to the top of the list.
  document.addEventListener("htmx:afterSettle", (event) => {
    const { target, requestConfig } = event.detail;
    if (target?.id !== "list") return;
    if (requestConfig?.elt?.closest?.(".pk-pager")) target.scrollIntoView({ block: "start" });
  });
  document.addEventListener("dialog-close", closeDialog);
  document.addEventListener("toast", (event) => {
    const { text, value, kind } = event.detail ?? {};
    toast(text ?? value, { kind });
  });

  function start() {
    showTheme();
    prepare(document.body);
    arrive();
    dialog()?.addEventListener("close", dialogClosed);
    dialog()?.addEventListener("cancel", (event) => { if (!mayClose()) event.preventDefault(); });
  }
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
