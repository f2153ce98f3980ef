// Takes light or dark and the time zone from Airflow, shows moments in that zone, and keeps the page up to date.
"use strict";

(() => {
  const own = document.documentElement;
  const REFRESH = 10_000; // milliseconds

  function outer() {
    try {
      return window.parent !== window && window.parent.document ? window.parent : null;
    } catch {
      return null; // a frame of another site
    }
  }

  function stored(name) {
    try {
      return window.localStorage.getItem(name);
    } catch {
      return null;
    }
  }

  // Light or dark, as Airflow's switch says; where there is no Airflow around, as it said last.
  const frame = outer();
  function takeTheme() {
    const asked = frame ? (frame.document.documentElement.classList.contains("dark") ? "dark" : "light") : stored("theme");
    if (asked === "dark" || asked === "light") {
      own.dataset.theme = asked;
    } else {
      delete own.dataset.theme; // as the operating system says
    }
    takeColours();
  }

  // The colours of Airflow's own theme, as far as they can be read beside each other.
  const GROUNDS = { bg: "bg", raised: "bg-subtle" };
  const TEXTS = { fg: "fg", soft: "fg-muted", link: "fg-info" };
  function light(colour) {
    const brush = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    brush.fillStyle = colour;
    brush.fillRect(0, 0, 1, 1);
    const [red, green, blue] = [...brush.getImageData(0, 0, 1, 1).data].map((part) => {
      const share = part / 255;
      return share <= 0.03928 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  }
  function contrast(one, other) {
    const [darker, lighter] = [light(one), light(other)].sort((a, b) => a - b);
    return (lighter + 0.05) / (darker + 0.05);
  }
  function takeColours() {
    const names = [...Object.keys(GROUNDS), ...Object.keys(TEXTS)];
    names.forEach((name) => own.style.removeProperty(`--${name}`));
    if (!frame) {
      return;
    }
    const theirs = frame.getComputedStyle(frame.document.documentElement);
    const ours = window.getComputedStyle(own);
    const wanted = (name) => theirs.getPropertyValue(`--chakra-colors-${name}`).trim();
    const states = ["success", "failed", "running", "warned", "waiting", "skipped"];
    const grounds = Object.fromEntries(Object.entries(GROUNDS).map(([name, there]) => [name, wanted(there)]));
    const texts = Object.fromEntries(Object.entries(TEXTS).map(([name, there]) => [name, wanted(there)]));
    if (!Object.values(grounds).every(Boolean)) {
      return; // an Airflow with other names
    }
    const readable = (text) => Object.values(grounds).every((ground) => contrast(text, ground) >= 4.5);
    if (!states.every((name) => readable(ours.getPropertyValue(`--${name}`).trim())) || !readable(texts.fg)) {
      return;
    }
    Object.entries(grounds).forEach(([name, colour]) => own.style.setProperty(`--${name}`, colour));
    for (const [name, colour] of Object.entries(texts)) {
      const kept = ours.getPropertyValue(`--${name}`).trim();
      own.style.setProperty(`--${name}`, colour && readable(colour) ? colour : readable(kept) ? kept : texts.fg);
    }
  }

  takeTheme();
  if (frame) {
    // Airflow changes the class first and its colours a moment later.
    const later = () => { takeTheme(); window.setTimeout(takeTheme, 200); };
    const watched = { attributes: true, attributeFilter: ["class"] };
    new MutationObserver(later).observe(frame.document.documentElement, watched);
  }

  // Moments in the reader's zone: the one chosen in Airflow, which writes it as JSON; the browser's where none is.
  function chosenZone() {
    const written = stored("timezone");
    try {
      return JSON.parse(written) || undefined;
    } catch {
      return written;
    }
  }
  function format() {
    const options = {
      year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit",
      hourCycle: "h23", timeZoneName: "short",
    };
    try {
      return new Intl.DateTimeFormat("en-CA", { ...options, timeZone: chosenZone() });
    } catch {
      return new Intl.DateTimeFormat("en-CA", { ...options, timeZone: "UTC" });
    }
  }
  function showMoments(root) {
    const inZone = format();
    for (const time of root.querySelectorAll("time[datetime]")) {
      const written = time.title;
      const text = inZone.format(new Date(time.dateTime)).replace(",", "");
      if (time.textContent === written) {
        time.textContent = text;
      }
      time.title = text;
    }
  }

  // Only what has changed is replaced, so that scroll, focus and open details stay.
  // Rows may have moved: a place is a row's key, and the way down from there.
  function place(node, root) {
    const steps = [];
    let at = node;
    for (; at !== root && !at.dataset.key; at = at.parentElement) {
      steps.unshift([...at.parentElement.children].indexOf(at));
    }
    return { key: at === root ? null : at.dataset.key, steps };
  }
  function find({ key, steps }, root) {
    const from = key === null ? root : [...root.querySelectorAll("[data-key]")].find((row) => row.dataset.key === key);
    return steps.reduce((at, step) => at && at.children[step], from);
  }
  function renew(old, fresh) {
    const focused = old.contains(document.activeElement) ? place(document.activeElement, old) : null;
    const open = [...old.querySelectorAll("details[open]")].map((node) => place(node, old));
    const scrolled = [...old.querySelectorAll(".scroll, pre")]
      .filter((node) => node.scrollLeft || node.scrollTop)
      .map((node) => ({ where: place(node, old), left: node.scrollLeft, top: node.scrollTop }));
    old.replaceWith(fresh);
    for (const where of open) {
      const node = find(where, fresh);
      if (node && node.tagName === "DETAILS") {
        node.open = true;
      }
    }
    for (const { where, left, top } of scrolled) {
      const node = find(where, fresh);
      if (node) {
        node.scrollTo({ left, top, behavior: "instant" });
      }
    }
    const target = focused && find(focused, fresh);
    if (target) {
      target.focus({ preventScroll: true });
    }
  }
  function without(node) {
    return node.outerHTML.replaceAll(' open=""', "");
  }
  // A part that the page did not have comes where the answer has it: behind the live part before it.
  function insert(fresh) {
    let before = fresh.previousElementSibling;
    while (before && !(before.dataset.live !== undefined && document.getElementById(before.id))) {
      before = before.previousElementSibling;
    }
    const added = document.importNode(fresh, true);
    if (before) {
      document.getElementById(before.id).after(added);
    } else {
      document.getElementById("content").prepend(added);
    }
  }
  function take(text) {
    const page = new DOMParser().parseFromString(text, "text/html");
    showMoments(page);
    for (const fresh of page.querySelectorAll("[data-live]")) {
      const old = document.getElementById(fresh.id);
      if (!old) {
        insert(fresh);
      } else if (without(old) !== without(fresh)) {
        renew(old, document.importNode(fresh, true));
      }
    }
    for (const old of document.querySelectorAll("[data-live]")) {
      if (!page.getElementById(old.id)) {
        old.remove();
      }
    }
  }
  async function refresh() {
    if (!document.hidden) {
      try {
        const answer = await fetch(window.location.href, { headers: { Accept: "text/html" } });
        if (answer.redirected) {
          window.location.replace(answer.url); // what was not tracked yet has a page now
          return;
        }
        if (answer.ok && document.querySelector("[data-trouble]")) {
          window.location.reload(); // what was wrong is over
          return;
        }
        if (answer.ok || answer.status === 404) {
          take(await answer.text());
        } else if (answer.status === 401) {
          window.location.reload();
          return;
        }
      } catch {
        // Airflow is restarting or the network is away: the next turn tries again.
      }
    }
    window.setTimeout(refresh, REFRESH);
  }

  // The frame may not lead Airflow's own page elsewhere; a link that belongs to that page does.
  function openInAirflow(event) {
    const link = event.target.closest && event.target.closest("a[data-airflow]");
    if (!link || !frame) {
      return;
    }
    event.preventDefault();
    const there = frame.document.createElement("a");
    there.href = link.href;
    if (event.ctrlKey || event.metaKey || event.shiftKey) {
      there.target = "_blank";
    }
    frame.document.body.append(there);
    there.click();
    there.remove();
  }

  // What another tab, or Airflow around this page, has changed.
  window.addEventListener("storage", () => {
    takeTheme();
    showMoments(document);
  });
  document.addEventListener("DOMContentLoaded", () => {
    showMoments(document);
    document.addEventListener("click", openInAirflow);
    if (document.querySelector("[data-live]")) {
      window.setTimeout(refresh, REFRESH);
    }
  });
})();
