import { WAYS, tone, badge, countdown, element } from '/words.js';

const cards = await (await fetch('/gallery.json')).json();

function show({ id, reading, status }) {
  const card = element('article', 'card');
  card.dataset.tone = tone(status);
  card.append(element('p', 'id mono', id));
  const path = badge(status);
  if (path) card.append(element('p', 'faint', path.text));
  card.append(element('p', 'text', reading.text), element('p', 'faint', reading.hint));
  if (status.retry_in_ms != null) card.append(element('p', 'next', countdown(status, status.retry_in_ms)));
  const ways = element('p', 'row');
  ways.append(...reading.ways_out.map((way) => way === 'wait'
    ? element('em', 'faint', 'Goes on by itself.') : element('span', '', WAYS[way] ?? way)));
  card.append(ways);
  return card;
}

function showAll() {
  const shown = cards.filter((card) => card.usual || document.getElementById('rare').checked);
  document.getElementById('count').textContent = `${shown.length} of ${cards.length}`;
  const parts = [];
  for (const state of new Set(shown.map((card) => card.status.state))) {
    const group = element('div', 'cards');
    group.append(...shown.filter((card) => card.status.state === state).map(show));
    parts.push(element('h2', '', state), group);
  }
  document.getElementById('cards').replaceChildren(...parts);
}

document.getElementById('rare').addEventListener('change', showAll);
showAll();
