// Takes over light or dark from Airflow, whose page holds this one in a frame.
"use strict";

(() => {
  const own = document.documentElement;

  function outer() {
    try {
      return window.parent !== window ? window.parent.document.documentElement : null;
    } catch {
      return null; // a frame of another site
    }
  }

  function stored() {
    try {
      return window.localStorage.getItem("theme");
    } catch {
      return null;
    }
  }

  function takeTheme() {
    const frame = outer();
    const asked = frame ? (frame.classList.contains("dark") ? "dark" : "light") : stored();
    if (asked === "dark" || asked === "light") {
      own.dataset.theme = asked;
    } else {
      delete own.dataset.theme; // as the operating system says
    }
  }

  takeTheme();
  const frame = outer();
  if (frame) {
    new MutationObserver(takeTheme).observe(frame, { attributes: true, attributeFilter: ["class", "style"] });
  }
  window.addEventListener("storage", takeTheme);
})();
