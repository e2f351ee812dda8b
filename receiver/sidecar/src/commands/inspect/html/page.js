'use strict';
// Enlarges frames of a flame graph, and opens every stack for the printer. Without it the page says as much.
for (const graph of document.querySelectorAll('svg.flame')) {
  const frames = [...graph.querySelectorAll('g')].map((g) => {
    const [title, rect, text] = ['title', 'rect', 'text'].map((name) => g.querySelector(name));
    const part = (name) => parseFloat(rect.getAttribute(name));
    return {g, rect, text, name: title.textContent.replace(/ \([^(]*\)$/, ''), x: part('x'), width: part('width'), y: part('y')};
  });
  const show = (chosen) => {
    const room = graph.getBoundingClientRect().width;
    const end = chosen.x + chosen.width, slack = 1e-3;
    for (const frame of frames) {
      const holds = frame.x <= chosen.x + slack && frame.x + frame.width >= end - slack;
      const within = frame.x >= chosen.x - slack && frame.x + frame.width <= end + slack;
      const above = frame.y < chosen.y && holds;
      const visible = above || (within && frame.y >= chosen.y);
      frame.g.style.display = visible ? '' : 'none';
      if (!visible) continue;
      const x = above ? 0 : (frame.x - chosen.x) / chosen.width * 100;
      const width = above ? 100 : frame.width / chosen.width * 100;
      frame.rect.setAttribute('x', x + '%');
      frame.rect.setAttribute('width', width + '%');
      frame.g.classList.toggle('past', above);
      const fits = Math.floor((width / 100 * room - 6) / 7.3);
      const name = [...frame.name];
      frame.text.setAttribute('x', x + '%');
      frame.text.setAttribute('dx', '3');
      frame.text.textContent = fits < 3 ? '' : name.length <= fits ? frame.name : name.slice(0, fits - 2).join('') + '..';
    }
  };
  const widest = frames.reduce((a, b) => (b.width > a.width || (b.width === a.width && b.y < a.y) ? b : a));
  let chosen = widest;
  graph.addEventListener('click', (event) => {
    chosen = frames.find((frame) => frame.g === event.target.closest('g')) || widest;
    show(chosen);
  });
  addEventListener('resize', () => show(chosen));
  show(widest);
}
const closed = () => [...document.querySelectorAll('details:not([open])')];
let opened = [];
addEventListener('beforeprint', () => { opened = closed(); opened.forEach((details) => { details.open = true; }); });
addEventListener('afterprint', () => { opened.forEach((details) => { details.open = false; }); });
