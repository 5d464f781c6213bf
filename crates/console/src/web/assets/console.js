// Keeps the page up to date: the server sends the content of the parts that have changed, as HTML that it has escaped.
"use strict";

(() => {
  const connection = document.getElementById("connection");
  const news = document.getElementById("news");
  const pause = document.getElementById("pause");
  // How long a stream may be missing before the page says so: streams end and are opened again.
  const patienceMs = 3000;
  let stream = null;
  let lostTimer = null;

  function show(text, lost) {
    if (connection.textContent !== text) {
      connection.textContent = text;
      connection.className = lost ? "bad" : "";
    }
  }

  function isLive() {
    clearTimeout(lostTimer);
    lostTimer = null;
    show("Live", false);
  }

  function isLost() {
    if (lostTimer === null) {
      lostTimer = setTimeout(() => {
        show("Connection lost: the figures are old. Trying again.", true);
        // After an answer that is no stream, the browser gives up.
        if (stream !== null && stream.readyState === EventSource.CLOSED) {
          open();
        }
        lostTimer = null;
        if (stream !== null && stream.readyState !== EventSource.OPEN) {
          isLost();
        }
      }, patienceMs);
    }
  }

  // Replaces the content of a part, and keeps where the focus is in it and which details are open.
  function replace(place, html) {
    const focused = place.contains(document.activeElement) && place !== document.activeElement;
    const focusable = "a, button, summary, pre";
    const at = focused ? [...place.querySelectorAll(focusable)].indexOf(document.activeElement) : -1;
    const words = (details) => details.querySelector("code").textContent + details.querySelector("time").textContent;
    const known = new Map([...place.querySelectorAll("details")].map((details) => [words(details), details.open]));
    place.innerHTML = html;
    for (const details of place.querySelectorAll("details")) {
      details.open = known.get(words(details)) ?? details.open;
    }
    const again = place.querySelectorAll(focusable)[at];
    if (again !== undefined) {
      again.focus({ preventScroll: true });
    }
  }

  function open() {
    if (stream !== null) {
      stream.close();
    }
    stream = new EventSource(document.body.dataset.stream);
    stream.addEventListener("open", isLive);
    stream.addEventListener("error", isLost);
    stream.addEventListener("part", (event) => {
      const { id, html } = JSON.parse(event.data);
      const place = document.getElementById(id);
      if (place !== null) {
        replace(place, html);
      }
    });
    stream.addEventListener("news", (event) => {
      news.textContent = JSON.parse(event.data);
    });
  }

  function close() {
    clearTimeout(lostTimer);
    lostTimer = null;
    stream.close();
    stream = null;
  }

  pause.hidden = false;
  pause.addEventListener("click", () => {
    if (stream === null) {
      open();
    } else {
      close();
      show("Paused", false);
    }
    pause.setAttribute("aria-pressed", String(stream === null));
  });

  // A button of the lab is pressed without leaving the page.
  document.addEventListener("submit", async (event) => {
    event.preventDefault();
    const form = event.target;
    const body = new URLSearchParams(new FormData(form, event.submitter));
    try {
      const answer = await fetch(form.action, { method: "POST", body, redirect: "manual" });
      if (answer.type !== "opaqueredirect") {
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        news.textContent = page.querySelector("p")?.textContent ?? "The button had no effect.";
        show(news.textContent, true);
      } else {
        news.textContent = event.submitter.getAttribute("aria-label") + ": pressed";
      }
    } catch (error) {
      news.textContent = "The console does not answer.";
      show(news.textContent, true);
    }
  });

  // A page that is not seen needs no stream.
  document.addEventListener("visibilitychange", () => {
    const paused = pause.getAttribute("aria-pressed") === "true";
    if (document.hidden && stream !== null) {
      close();
    } else if (!document.hidden && stream === null && !paused) {
      open();
    }
  });

  open();
})();
