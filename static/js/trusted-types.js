// Runs first. The browser sends every text that would become HTML through the default policy: only answers of the portal
// that htmx and idiomorph parse pass, and only if nothing in them could run. Nothing becomes a script or its address.
(function () {
  "use strict";
  if (!window.trustedTypes) return;
  const PARSERS = ["Document parseHTMLUnsafe", "DOMParser parseFromString", "Range createContextualFragment"];
  const HTMX_PANTRY = "<div id='--htmx-preserve-pantry--'></div>"; // where htmx keeps elements with hx-preserve
  const FORBIDDEN = "script:not([src], [type='application/json']), iframe, frame, object, embed, base, [srcdoc]";
  const ADDRESSES = ["href", "xlink:href", "src", "action", "formaction"];
  const inspection = window.trustedTypes.createPolicy("portal-inspection", { createHTML: (text) => text });

  const runs = ({ name, value }) =>
    name.startsWith("on") || (ADDRESSES.includes(name) && /^javascript:/i.test(value.replace(/[\u0000-\u0020]/g, "")));
  function isHarmless(text) {
    const parts = [new DOMParser().parseFromString(inspection.createHTML(text), "text/html")];
    for (const part of parts) {
      for (const element of part.querySelectorAll("*")) {
        if (element.matches(FORBIDDEN) || Array.from(element.attributes).some(runs)) return false;
        if (element.content instanceof DocumentFragment) parts.push(element.content);
      }
    }
    return true;
  }
  window.trustedTypes.createPolicy("default", {
    createHTML(text, type, sink) {
      if (text === HTMX_PANTRY && sink === "Element insertAdjacentHTML") return text;
      return PARSERS.includes(sink) && isHarmless(text) ? text : null; // null: the browser refuses, and reports it
    },
  });
})();
