import { WAYS, tone, badge, countdown, element } from '/words.js';

const $ = (id) => document.getElementById(id);
const STATES = {
  sending: '… sending', delivered: '✓ delivered', undelivered: '✕ not delivered', unknown: '? may not have arrived',
};

let me = null;
let seq = 0;
const conversations = new Map();
let selected = null;

// --- The secret: from the address into this tab's memory, and out of the address bar.

function takeSecret() {
  if (location.hash.length > 1) {
    sessionStorage.setItem('secret', location.hash.slice(1));
    history.replaceState(null, '', location.pathname);
  }
  return sessionStorage.getItem('secret') ?? '';
}
let secret = takeSecret();
addEventListener('hashchange', () => { secret = takeSecret(); location.reload(); });

function call(path, body, signal) {
  const headers = { 'Authorization': `Bearer ${secret}`, 'Content-Type': 'application/json' };
  return fetch(path, { method: 'POST', headers, body: JSON.stringify(body ?? {}), signal });
}

/** Returns the answer, or throws an error whose message is for a person. */
async function ask(path, body) {
  let response;
  try { response = await call(path, body); } catch { throw new Error('burdock chat does not answer; is it still running?'); }
  const text = await response.text();
  let answer = {};
  try { answer = JSON.parse(text); } catch { answer.error = text; }
  if (!response.ok) throw new Error(capital(answer.error || `refused (${response.status})`));
  return answer;
}

const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

// --- The stream of events: a snapshot, then numbered changes.

async function follow() {
  for (let wait = 500; ; wait = Math.min(wait * 2, 5000)) {
    try {
      const response = await call('/api/events');
      if (response.status === 401) return warn('This page needs its secret: open the address that burdock chat printed.');
      if (!response.ok) throw new Error();
      await read(response.body, () => { wait = 500; warn(null); });
    } catch { /* the same as an end of the stream */ }
    warn('burdock chat does not answer. This page goes on when it is back.');
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
}

/** Reads server-sent events (HTML §9.2.6) until the stream ends or a number is missing. */
async function read(body, begun) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    buffer += value;
    let end;
    while ((end = buffer.indexOf('\n\n')) >= 0) {
      const event = {};
      for (const line of buffer.slice(0, end).split('\n')) {
        const at = line.indexOf(':');
        if (at > 0) event[line.slice(0, at)] = line.slice(at + 1).trimStart();
      }
      buffer = buffer.slice(end + 2);
      if (!event.event) continue;
      if (!take(event.event, Number(event.id), JSON.parse(event.data))) return reader.cancel();
      begun();
    }
  }
}

function take(name, id, data) {
  if (name === 'lagged') return true; // a snapshot follows
  if (name === 'snapshot') { seq = data.seq; showAll(data); return true; }
  if (id !== seq + 1) return false;
  seq = id;
  switch (name) {
    case 'me': me = data; showMe(); break;
    case 'conversation': upsert(data); break;
    case 'removed': conversations.delete(data.conversation); if (selected === data.conversation) select(null); break;
    case 'entry': addEntry(data.conversation, data.entry, data.oldest); break;
    case 'connection_progress': {
      const conversation = conversations.get(data.conversation);
      if (conversation) conversation.status.progress = data;
      break;
    }
  }
  if (name !== 'connection_progress') showList();
  return true;
}

function warn(text) {
  $('banner').hidden = !text;
  if ($('banner').textContent !== (text ?? '')) $('banner').textContent = text ?? '';
}

// --- What is known.

function showAll(view) {
  me = view.me;
  conversations.clear();
  for (const { entries, ...head } of view.conversations) {
    upsert(head);
    const conversation = conversations.get(head.id);
    for (const entry of entries) conversation.entries.set(entry.id, entry);
  }
  showMe();
  const newest = [...conversations.keys()].at(-1) ?? null;
  select(conversations.has(selected) ? selected : narrow() ? null : newest);
}

function upsert(head) {
  const known = conversations.get(head.id);
  const wait = head.status.retry_in_ms;
  const next = { entries: new Map(), unread: 0, ...known, ...head, retryAt: wait == null ? null : performance.now() + wait };
  if (!head.end) delete next.end;
  conversations.set(head.id, next);
  // It was asked for and is here only now.
  const awaited = !known && selected === head.id;
  if (!known && me && (awaited || (selected === null && !narrow()))) select(head.id);
  if (awaited) $('text').focus();
  else if (known && selected === head.id) showHead();
}

function addEntry(id, entry, oldest) {
  const conversation = conversations.get(id);
  if (!conversation) return;
  const isNew = !conversation.entries.has(entry.id);
  conversation.entries.set(entry.id, entry);
  // The program keeps these no more, and tells nothing of them.
  for (const old of conversation.entries.keys()) {
    if (old >= oldest) break;
    conversation.entries.delete(old);
    if (selected === id) $(`entry-${old}`)?.remove();
  }
  if (selected === id) showEntry(entry);
  if (isNew && entry.from === 'peer' && (selected !== id || document.hidden)) conversation.unread += 1;
  document.title = unread() ? `(${unread()}) Burdock chat` : 'Burdock chat';
}

const unread = () => [...conversations.values()].reduce((sum, conversation) => sum + conversation.unread, 0);
const narrow = () => matchMedia('(max-width: 760px)').matches;
const short = (key) => `${key.slice(0, 4)} ${key.slice(4, 8)}`;

// --- What is shown.

function showMe() {
  $('door').textContent = me.door;
  $('my-link').value = me.link;
  $('share').hidden = !me.link;
  $('router').textContent = me.router;
  $('my-key').textContent = me.key;
  $('qr').toggleAttribute('hidden', !me.qr);
  if (me.qr) {
    $('qr').setAttribute('viewBox', `0 0 ${me.qr.size} ${me.qr.size}`);
    $('qr').firstElementChild.setAttribute('d', me.qr.path);
  }
}

function showList() {
  $('nobody').hidden = conversations.size > 0;
  const list = $('list');
  const before = new Map([...list.children].map((item) => [Number(item.dataset.id), item]));
  for (const conversation of conversations.values()) {
    let item = before.get(conversation.id);
    before.delete(conversation.id);
    if (!item) {
      item = element('li');
      item.dataset.id = conversation.id;
      const button = element('button');
      button.type = 'button';
      button.append(element('span', 'dot'), element('span', 'name mono', short(conversation.peer)),
        element('span', 'unread'), element('span', 'sub'));
      button.addEventListener('click', () => { select(conversation.id); $('text').focus(); });
      item.append(button);
      list.append(item);
    }
    const [dot, , count, sub] = item.firstElementChild.children;
    item.dataset.tone = tone(conversation.status);
    dot.setAttribute('aria-hidden', 'true');
    count.textContent = conversation.unread || '';
    count.hidden = !conversation.unread;
    if (conversation.unread) count.setAttribute('aria-label', `${conversation.unread} unread`);
    sub.textContent = conversation.reading.text;
    item.firstElementChild.setAttribute('aria-current', conversation.id === selected);
  }
  for (const gone of before.values()) gone.remove();
}

function select(id) {
  selected = id;
  const conversation = conversations.get(id);
  $('conversation').hidden = !conversation;
  $('empty').hidden = !!conversation;
  document.body.classList.toggle('talking', !!conversation);
  if (conversation) {
    conversation.unread = 0;
    document.title = unread() ? `(${unread()}) Burdock chat` : 'Burdock chat';
    $('peer').textContent = short(conversation.peer);
    $('peer-key').textContent = conversation.peer;
    $('number').replaceChildren(...conversation.safety_number.split(' ').map((group) => element('li', '', group)));
    $('safety').open = false;
    $('send-error').textContent = '';
    $('log').replaceChildren();
    for (const entry of conversation.entries.values()) showEntry(entry);
    $('log').scrollTop = $('log').scrollHeight;
    showHead();
  }
  showList();
}

function showHead() {
  const { status, reading } = conversations.get(selected);
  const path = badge(status);
  $('badge').hidden = !path;
  if (path) {
    $('path').textContent = path.text;
    $('bars').dataset.on = path.bars;
    $('bars').dataset.tone = path.tone;
  }
  $('state').dataset.tone = tone(status);
  $('state').dataset.state = status.state;
  setText($('text-now'), reading.text);
  setText($('hint'), reading.hint);
  showCountdown();
  const ways = reading.ways_out.filter((way) => way !== 'wait');
  if ($('ways').dataset.ways !== `${selected} ${ways}`) {
    const focused = document.activeElement?.dataset?.way;
    $('ways').dataset.ways = `${selected} ${ways}`;
    $('ways').replaceChildren(...ways.map((way, at) => {
      const first = at === 0 && (way === 'retry_now' || way === 'try_again');
      const button = element('button', first ? 'primary' : '', WAYS[way] ?? way);
      button.type = 'button';
      button.dataset.way = way;
      button.addEventListener('click', () => act(way));
      return button;
    }));
    // The keyboard stays where it was, or goes to what takes its place.
    if (focused) ($('ways').querySelector(`[data-way=${focused}]`) ?? $('ways').firstElementChild ?? $('text')).focus();
  }
  const over = status.state === 'closed' || status.state === 'closing';
  $('text').disabled = over;
  $('compose').querySelector('button').disabled = over;
  $('text').placeholder = over ? 'The conversation has ended' : status.state === 'connected' ? 'Message' : 'Message; it goes out once you are connected';
}

/** A live region speaks when it changes, so only then. */
function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function showCountdown() {
  const conversation = conversations.get(selected);
  const waits = conversation?.retryAt != null;
  $('countdown').hidden = !waits;
  if (waits) setText($('countdown'), countdown(conversation.status, conversation.retryAt - performance.now()));
}
setInterval(showCountdown, 200);

function showEntry(entry) {
  const log = $('log');
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 80;
  let item = $(`entry-${entry.id}`);
  if (!item) {
    item = element('div', entry.from);
    item.id = `entry-${entry.id}`;
    if (entry.from === 'note') {
      item.textContent = entry.text;
    } else {
      const who = element('span', 'unseen', entry.from === 'me' ? 'You: ' : 'Peer: ');
      const bubble = element('span', 'bubble', entry.text);
      bubble.dir = 'auto';
      const meta = element('span', 'meta');
      const time = new Date(entry.at_ms).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' });
      meta.append(element('span', '', time), element('span', 'state'));
      item.append(who, bubble, meta);
    }
    log.append(item);
  }
  if (entry.state) {
    const state = item.querySelector('.state');
    state.dataset.state = entry.state;
    state.textContent = ` ${STATES[entry.state] ?? entry.state}`;
  }
  if (atEnd || entry.from === 'me') log.scrollTop = log.scrollHeight;
}

// --- What a person does.

async function act(action) {
  $('send-error').textContent = '';
  try { await ask('/api/act', { conversation: selected, action }); } catch (error) { $('send-error').textContent = error.message; }
}

$('connect').addEventListener('submit', async (event) => {
  event.preventDefault();
  $('connect-error').textContent = '';
  try {
    const { conversation } = await ask('/api/connect', { link: $('link').value });
    $('link').value = '';
    // The stream may bring it a moment later.
    if (conversations.has(conversation)) select(conversation); else selected = conversation;
    $('text').focus();
  } catch (error) { $('connect-error').textContent = error.message; }
});

$('compose').addEventListener('submit', async (event) => {
  event.preventDefault();
  const text = $('text').value;
  if (!text.trim()) return;
  $('send-error').textContent = '';
  $('text').value = '';
  try { await ask('/api/send', { conversation: selected, text }); } catch (error) {
    if (!$('text').value) $('text').value = text;
    $('send-error').textContent = error.message;
  }
});

$('text').addEventListener('keydown', (event) => {
  if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    $('compose').requestSubmit();
  }
});

$('copy').addEventListener('click', async () => {
  try {
    await navigator.clipboard.writeText(me.link);
    $('copied').textContent = 'Copied.';
  } catch {
    $('my-link').select();
    $('copied').textContent = 'Selected: copy it with your keyboard.';
  }
});

$('back').addEventListener('click', () => { select(null); $('link').focus(); });
document.addEventListener('keydown', (event) => {
  if (event.key === 'Escape' && $('safety').open) { $('safety').open = false; $('safety').firstElementChild.focus(); }
});
document.addEventListener('visibilitychange', () => {
  if (!document.hidden && selected !== null && conversations.has(selected)) { conversations.get(selected).unread = 0; showList(); document.title = unread() ? `(${unread()}) Burdock chat` : 'Burdock chat'; }
});

follow();
