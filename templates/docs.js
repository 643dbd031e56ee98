// Starts Swagger UI on the page at /docs. Everything is asked of the server that the page came from.
"use strict";

const page = document.getElementById("swagger-ui");
const issuer = page.dataset.issuer;
// The page is at docs below the issuer, whatever name and path it was reached by.
const here = new URL(".", location.href).href.replace(/\/$/, "");

const dark = matchMedia("(prefers-color-scheme: dark)");
const paint = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", paint);
paint();

// Swagger UI puts a link into each button that opens an operation, which keyboards and screen readers cannot tell apart
// (HTML §4.10.6: "there must be no interactive content descendant"). The text of the link is enough.
const plainTitles = (system) => ({
  wrapComponents: { DeepLink: () => ({ text }) => system.React.createElement("span", null, text) },
});

window.ui = SwaggerUIBundle({
  url: "openapi.json",
  domNode: page,
  layout: "BaseLayout",
  deepLinking: true,
  defaultModelsExpandDepth: -1,
  validatorUrl: null,
  plugins: [plainTitles],
  requestInterceptor(request) {
    // The document names addresses below the issuer; this server may be reached by another name, too.
    if (request.url.startsWith(`${issuer}/`)) request.url = here + request.url.slice(issuer.length);
    // Nothing that the browser keeps is sent, and no 401 opens its own login window (Fetch, HTTP-network-or-cache fetch).
    request.credentials = "omit";
    return request;
  },
});

// What Swagger UI leaves without a name for those who do not see it (WCAG 2.2 §4.1.2), and what it names otherwise than
// its text says (§2.5.3).
const names = [
  [".close-modal", () => "Close"],
  [".copy-to-clipboard button", () => "Copy"],
  [".examples-select-element", () => "Example"],
  ["tr[data-property-name] select, tr[data-property-name] input", (of) => of.closest("tr").dataset.propertyName],
];
const mend = () => {
  for (const [selector, name] of names) {
    for (const nameless of page.querySelectorAll(`:is(${selector}):not([aria-label])`)) nameless.setAttribute("aria-label", name(nameless));
  }
  for (const misnamed of page.querySelectorAll(".auth-btn-wrapper [aria-label]")) misnamed.removeAttribute("aria-label");
  for (const field of page.querySelectorAll(".auth-container input[aria-label][id]")) field.removeAttribute("aria-label");
  // The window opens where people log in, and not at the last field that wants the focus.
  for (const fields of page.querySelectorAll(".modal-ux-content:not([data-opened])")) {
    fields.dataset.opened = "";
    fields.querySelector("#oauth_username")?.focus();
  }
  for (const scrolls of page.querySelectorAll("pre:not([tabindex])")) scrolls.tabIndex = 0;
};
new MutationObserver(mend).observe(page, { childList: true, subtree: true });
