"use strict";
// A table as Markdown: every cell that is not a bar, in one line, with "|" escaped.
function markdown(table) {
  const line = (row) => [...row.cells].filter((cell) => !("skip" in cell.dataset))
    .map((cell) => cell.textContent.trim().replace(/\s+/g, " ").replace(/\\/g, "\\\\").replace(/\|/g, "\\|"));
  const [head, ...body] = [...table.rows].map(line);
  const right = [...table.rows[0].cells].filter((cell) => !("skip" in cell.dataset)).map((cell) => cell.className.includes("number") ? "---:" : "---");
  return [head, right, ...body].map((cells) => "| " + cells.join(" | ") + " |").join("\n") + "\n";
}
// From a file, some browsers have no clipboard for scripts: then by selection, and at last by hand.
async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    try { return document.execCommand("copy"); } catch { return false; } finally { area.remove(); }
  }
}
for (const button of document.querySelectorAll("button.copy")) {
  const said = button.textContent;
  button.hidden = false;
  button.addEventListener("click", async () => {
    const text = markdown(button.parentElement.querySelector("table"));
    if (await copied(text)) {
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = said; }, 2000);
    } else {
      const dialog = document.getElementById("text");
      dialog.querySelector("textarea").value = text;
      dialog.showModal();
      dialog.querySelector("textarea").select();
    }
  });
}
const scheme = document.getElementById("scheme");
scheme.hidden = false;
scheme.addEventListener("click", () => {
  const root = document.documentElement;
  const now = root.dataset.scheme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  root.dataset.scheme = now === "dark" ? "light" : "dark";
});
