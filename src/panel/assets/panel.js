// What needs a script: times in the reader's zone, copying, counting down, selecting all, and parts that are live.
(() => {
  const local = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

  const makeLocal = (root) => {
    for (const time of root.querySelectorAll("time[datetime]:not(.ago):not([data-until])")) {
      time.textContent = local.format(new Date(time.dateTime));
    }
  };

  const left = (milliseconds) => {
    const seconds = Math.max(0, Math.floor(milliseconds / 1000));
    const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor((seconds % 3600) / 60)];
    return hours ? `${hours} h ${minutes} min` : minutes ? `${minutes} min ${seconds % 60} s` : `${seconds} s`;
  };

  const countDown = () => {
    for (const time of document.querySelectorAll("time[data-until]")) {
      time.textContent = `in ${left(new Date(time.dateTime) - Date.now())}`;
    }
  };

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button[data-copy]");
    if (!button) return;
    const name = button.textContent;
    try {
      await navigator.clipboard.writeText(button.dataset.copy);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Select and copy";
    }
    setTimeout(() => { button.textContent = name; }, 1500);
  });

  document.addEventListener("change", (event) => {
    if (!event.target.matches("input[data-all]")) return;
    for (const box of event.target.form.querySelectorAll("input[type=checkbox][name]")) box.checked = event.target.checked;
  });

  document.addEventListener("submit", (event) => {
    const question = event.submitter?.dataset.ask;
    if (question && !confirm(question)) event.preventDefault();
  });

  for (const part of document.querySelectorAll("[data-live]")) {
    const stream = new EventSource(part.dataset.live);
    stream.onmessage = (message) => {
      part.innerHTML = message.data;
      makeLocal(part);
    };
    addEventListener("pagehide", () => stream.close());
  }

  makeLocal(document);
  countDown();
  if (document.querySelector("time[data-until]")) setInterval(countDown, 1000);
})();
