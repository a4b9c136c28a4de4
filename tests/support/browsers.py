"""What tests of pages in a real browser share."""

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")

# Contrast of text and ground (WCAG 2.1, 1.4.3) of what is seen; a ground that is clear is that of what lies below.
CONTRAST = """() => {
  const numbers = (text) => {
    const found = text.match(/[\\d.]+/g).map(Number);
    return text.startsWith("color(") ? found.slice(0, 3).map((x) => x * 255).concat(found.slice(3)) : found;
  };
  const light = (text) => numbers(text).slice(0, 3).map((x) => x / 255)
    .map((x) => (x <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4))
    .reduce((sum, x, i) => sum + x * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (node) => {
    for (; node; node = node.parentElement) {
      const colour = getComputedStyle(node).backgroundColor;
      if (numbers(colour)[3] !== 0) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const bad = [];
  let looked = 0;
  const texts = "p, a, td, th, caption, figcaption, dt, dd, summary, code, h1, h2, h3, output, li, button, label, " +
    "select";
  for (const node of document.querySelectorAll(texts)) {
    if (!node.checkVisibility() || !node.textContent.trim()) continue;
    const [a, b] = [light(getComputedStyle(node).color), light(ground(node))];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    looked += 1;
    if (contrast < 4.5) bad.push([node.tagName, node.textContent.trim().slice(0, 40), contrast]);
  }
  return { looked, bad };
}"""
