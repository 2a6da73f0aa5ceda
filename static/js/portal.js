// Small comforts over pages that work without them. No dependency but htmx's events. docs/interface.md lists the attributes.
(function () {
  "use strict";
  const root = document.documentElement;
  const one = (selector, from = document) => from.querySelector(selector);
  const all = (selector, from = document) => Array.from(from.querySelectorAll(selector));
  const toasts = () => one("#toasts");
  const dialog = () => one("#dialog");

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

  function signedOut() {
    const words = toasts()?.dataset ?? {};
    toast(words.signedOut, { kind: "danger", link: { href: document.body.dataset.signIn, text: words.signIn } });
  }

  function explain(xhr) {
    const words = toasts()?.dataset ?? {};
    const texts = { 403: words.forbidden, 404: words.gone, 410: words.gone, 409: words.conflict, 429: words.slowDown, 503: words.unavailable };
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

  // --- Ticked rows and the bulk bar -----------------------------------------------------------------
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
    if (one("form[data-guard][data-changed]")) event.preventDefault();
  });

  // --- The dialog -----------------------------------------------------------------------------------------
  let opener = null;
  function openDialog() {
    const box = dialog();
    if (!box || !box.firstElementChild) return;
    if (!box.open) {
      opener ??= document.activeElement;
      box.showModal();
    }
    (one("[data-focus], [autofocus]", box) ?? one("input:not([type=hidden]), select, textarea, button", box))?.focus();
  }
  function closeDialog() {
    if (dialog()?.open) dialog().close();
  }
  function dialogClosed() {
    const box = dialog();
    if (box.contains(toasts())) document.body.append(toasts());
    box.replaceChildren();
    if (opener?.isConnected) opener.focus();
    opener = null;
  }
  // A click on the backdrop is a click on the dialog itself; what was typed is not thrown away for it.
  function clickedBeside(event) {
    if (event.target === dialog() && !one("form[data-changed]", dialog())) closeDialog();
  }

  // --- One pass over what is new in the page ----------------------------------------------------------------
  function prepare(part) {
    all("[data-copy]", part).forEach((button) => { button.hidden = false; });
    all("[data-stepper]", part).forEach(showStepper);
    all("form[data-bulk]", part).forEach(showTicked);
    if (part.closest?.("form[data-bulk]")) showTicked(part.closest("form[data-bulk]"));
    all("[data-noscript]", part).forEach((button) => { button.hidden = true; });
    one("[data-focus]", part)?.focus();
  }

  // --- Listening ----------------------------------------------------------------------------------------------
  document.addEventListener("click", (event) => {
    const target = event.target.closest("button, summary, a, input");
    clickedBeside(event);
    if (!event.target.closest(".pk-drop")) closeMenus();
    else closeMenus(event.target.closest(".pk-drop"));
    if (!target) return;
    if (target.matches("[data-theme-toggle]")) nextTheme();
    if (target.matches("[data-copy]")) copy(target);
    if (target.matches("[data-close]")) closeDialog();
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
  });
  document.addEventListener("submit", (event) => {
    if (!event.target.hasAttribute("hx-post")) delete event.target.dataset.changed;
  });
  document.addEventListener("reset", (event) => { delete event.target.dataset.changed; });
  window.addEventListener("pageshow", () => all("form[data-bulk]").forEach(showTicked));
  // What is shown once must not come back with a page that the browser kept for "back".
  window.addEventListener("pagehide", () => all("[data-once]").forEach((box) => box.replaceChildren()));

  // --- htmx -----------------------------------------------------------------------------------------------------
  const polls = (event) => event.detail.elt?.closest?.("[data-poll]");
  let away = false;
  document.addEventListener("htmx:beforeRequest", (event) => {
    if (polls(event) && (document.hidden || away)) event.preventDefault();
  });
  // A part that renews itself must not take an open menu from under somebody's pointer: it waits until the menu closes.
  document.addEventListener("htmx:beforeSwap", (event) => {
    const { target, requestConfig, shouldSwap } = event.detail;
    const menu = shouldSwap && requestConfig?.elt === target && one("details.pk-drop[open]", target);
    if (!menu) return;
    event.detail.shouldSwap = false;
    menu.addEventListener("toggle", () => {
      if (target.isConnected) window.htmx.ajax("GET", requestConfig.path, { source: target, target, swap: "outerHTML" });
    }, { once: true });
  });
  // An answer that leads to the sign-in page must not sweep away what somebody has typed; an idle page may go there.
  document.addEventListener("htmx:beforeOnLoad", (event) => {
    const xhr = event.detail.xhr;
    const leads = xhr.getResponseHeader("HX-Redirect") ?? "";
    const toSignIn = document.body.dataset.signIn && leads.split("?")[0].endsWith(document.body.dataset.signIn);
    away = xhr.status === 401;
    if (toSignIn && one("form[data-changed]")) {
      event.preventDefault();
      signedOut();
    } else if (leads && xhr.status < 400) {
      all("form[data-changed]").forEach((form) => { delete form.dataset.changed; });
    }
  });
  document.addEventListener("htmx:afterRequest", (event) => {
    const { elt, successful, requestConfig } = event.detail;
    if (successful && requestConfig?.triggeringEvent?.type === "submit") delete elt.dataset?.changed;
  });
  document.addEventListener("htmx:responseError", (event) => {
    const status = event.detail.xhr.status;
    if (!polls(event) || status === 401) explain(event.detail.xhr);
  });
  for (const failure of ["htmx:sendError", "htmx:timeout"]) {
    document.addEventListener(failure, (event) => {
      if (!polls(event)) toast(toasts()?.dataset.network, { kind: "danger" });
    });
  }
  document.addEventListener("htmx:load", (event) => prepare(event.detail.elt));
  document.addEventListener("htmx:afterSwap", (event) => {
    if (event.detail.target.id === "dialog") openDialog();
  });
  // After paging, sorting or filtering, the reader goes on at the list's top, not at the page's end.
  document.addEventListener("htmx:afterSettle", (event) => {
    const { target, requestConfig } = event.detail;
    if (target?.id !== "list") return;
    if (requestConfig?.elt?.closest?.(".pk-pager")) target.scrollIntoView({ block: "start" });
    if (!document.activeElement || document.activeElement === document.body) {
      target.setAttribute("tabindex", "-1");
      target.focus({ preventScroll: true });
    }
  });
  document.addEventListener("dialog-close", closeDialog);
  document.addEventListener("toast", (event) => {
    const { text, value, kind } = event.detail ?? {};
    toast(text ?? value, { kind });
  });

  function start() {
    showTheme();
    prepare(document.body);
    dialog()?.addEventListener("close", dialogClosed);
  }
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
