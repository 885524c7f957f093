(() => {
  const faults = [];
  if (document.documentElement.scrollWidth > innerWidth) faults.push(`wider than the screen: ${document.documentElement.scrollWidth}`);
  const rgb = (colour) => {
    const [r, g, b, a = 1] = colour.match(/[\d.]+/g).map(Number);
    return [r, g, b, a];
  };
  const over = ([r, g, b, a], under) => [r, g, b].map((c, i) => c * a + under[i] * (1 - a));
  const behind = (element) => {
    const layers = [];
    for (let e = element; e; e = e.parentElement) layers.push(rgb(getComputedStyle(e).backgroundColor));
    return layers.reverse().reduce((under, layer) => over(layer, under), [255, 255, 255]);
  };
  const luminance = (c) => c.map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  for (const element of document.body.querySelectorAll('*')) {
    if (!element.checkVisibility() || element.disabled || element.closest('.unseen')) continue;
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (own) {
      const back = behind(element);
      const [a, b] = [over(rgb(getComputedStyle(element).color), back), back].map(luminance);
      const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
      if (contrast < 4.5) faults.push(`contrast ${contrast.toFixed(2)}: ${element.outerHTML.slice(0, 120)}`);
    }
    if (element.matches('button, input, textarea, summary')) {
      const name = element.ariaLabel || element.labels?.[0]?.textContent || element.textContent;
      const [box, around] = [element, element.closest('.card, section, aside, main')].map((e) => e.getBoundingClientRect());
      if (box.left < around.left || box.right > around.right) faults.push(`sticks out: ${element.outerHTML.slice(0, 120)}`);
      if (!name.trim()) faults.push(`no name: ${element.outerHTML.slice(0, 120)}`);
    }
  }
  return faults;
})()
