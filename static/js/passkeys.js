// Passkeys: asks the browser for one, and sends its answer with the form. Attributes of the button:
//   data-passkey="get" or "create"     what to ask for
//   data-options="#id" or an address   the options of this ceremony: an element with JSON, or where to fetch them
// The answer goes into the form's field whose name ends with "credential". What fails is said in [data-passkey-error].
(function () {
  "use strict";
  const supported = "credentials" in navigator && "PublicKeyCredential" in window;

  async function optionsOf(button) {
    const from = button.dataset.options;
    if (from.startsWith("#")) return JSON.parse(document.querySelector(from).textContent);
    const response = await fetch(from, { headers: { Accept: "application/json" } });
    const isAnswer = response.ok && response.headers.get("Content-Type")?.includes("json");
    if (isAnswer) return response.json();
    location.reload(); // The session ended, or there were too many attempts: the page says so.
    return new Promise(() => {});
  }

  async function ask(button) {
    const options = await optionsOf(button);
    if (button.dataset.passkey === "create") return window.webauthnJSON.create(options.creation_options);
    return window.webauthnJSON.get(options.request_options);
  }

  document.addEventListener("click", async (event) => {
    const button = event.target.closest?.("[data-passkey]");
    if (!button) return;
    event.preventDefault();
    const form = button.form;
    const error = form.querySelector("[data-passkey-error]");
    if (error) error.hidden = true;
    button.disabled = true;
    try {
      const credential = await ask(button);
      form.querySelector("[name$=credential]").value = JSON.stringify(credential);
      form.noValidate = true;
      button.disabled = false;
      form.requestSubmit();
    } catch (problem) {
      button.disabled = false;
      console.warn("passkey", problem);
      if (error) error.hidden = false;
    }
  });

  // Without support the button would do nothing. Fragments bring buttons too.
  function show(root) {
    for (const part of root.querySelectorAll("[data-passkey-part]")) part.hidden = !supported;
  }
  show(document);
  document.addEventListener("htmx:load", (event) => show(event.target));
})();
