// What the page and the gallery have in common: how a status looks.

export const WAYS = {
  retry_now: 'Retry now', try_again: 'Try again', cancel: 'Cancel', close: 'Close', dismiss: 'Remove',
};

const GRADES = { unusable: 1, bad: 2, fair: 3, good: 4, excellent: 5 };

export function tone(status) {
  switch (status.state) {
    case 'connected': return status.quality?.grade === 'unusable' ? 'bad' : 'good';
    case 'closed': return ['done', 'cancelled', 'superseded'].includes(status.code) ? 'over' : 'bad';
    default: return 'busy';
  }
}

/** The path as a badge has it: transport, grade and round trip; nothing while there is none. */
export function badge(status) {
  if (status.state !== 'connected' || !status.transport) return null;
  const transport = status.transport.toUpperCase();
  const quality = status.quality?.transport === status.transport ? status.quality : null;
  if (!quality) return { text: transport, bars: 0, tone: 'over' };
  const rtt = quality.rtt_us < 1000 ? '< 1 ms' : `${Math.round(quality.rtt_us / 1000)} ms`;
  const bars = GRADES[quality.grade];
  return { text: `${transport} · ${quality.grade} · ${rtt}`, bars, tone: bars >= 4 ? 'good' : bars === 3 ? 'busy' : 'bad' };
}

/** "Attempt 2 of 4 starts in 5 s" */
export function countdown(status, leftMs) {
  const { attempt, max_attempts: most } = status.progress ?? {};
  const seconds = Math.ceil(leftMs / 1000);
  return `${attempt ? `Attempt ${attempt} of ${most}` : 'The next attempt'} ${seconds > 0 ? `starts in ${seconds} s` : 'starts now'}`;
}

export function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}
