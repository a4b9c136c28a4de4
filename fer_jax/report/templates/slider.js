for (const part of document.querySelectorAll("[data-confusion]")) {
  const found = JSON.parse(part.querySelector("script").textContent);
  const slider = part.querySelector("input"), said = part.querySelector("output");
  const cells = [...part.querySelectorAll("tbody tr")].map((row) => row.querySelectorAll("td"));
  const show = () => {
    const step = found.steps[slider.value];
    const total = found.names.map(() => 0);
    for (const [row, , count] of step.cells) total[row] += count;
    for (const row of cells) for (const cell of row) { cell.textContent = ""; cell.className = ""; cell.style.removeProperty("--v"); }
    for (const [row, column, count] of step.cells) {
      const share = count / total[row], cell = cells[row][column];
      cell.textContent = count;
      cell.style.setProperty("--v", share.toFixed(2));
      cell.className = share > 0.75 ? "hi" : "";
    }
    said.textContent = step.label;
    slider.setAttribute("aria-valuetext", step.label);
  };
  slider.addEventListener("input", show);
  slider.value = slider.max;
  part.querySelector(".slider").hidden = false;
  show();
}
// Paper has no closed parts.
addEventListener("beforeprint", () => { for (const part of document.querySelectorAll("details")) part.open = true; });
