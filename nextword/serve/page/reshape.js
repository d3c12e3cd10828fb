// What temperature, top-k and top-p make of a distribution; the same as nextword/decode/processors.

const ROUNDING = 1e-7; // so far may a sum fall short of p

// tokens: log p, likeliest first. rest: the others in groups of `count`, about as likely each. k: Infinity for all.
// Gives each token's share, that of all others together, and how many tokens are left.
export function reshape(logprobs, rest, temperature, k, p) {
  if (temperature === 0) return { shares: logprobs.map((_, place) => (place ? 0 : 1)), others: 0, left: 1 };
  const least = k >= logprobs.length ? -Infinity : logprobs[k - 1]; // as likely as the k-th stays in
  const top = logprobs[0];
  const weight = (logprob) => Math.exp((logprob - top) / temperature);
  const groups = [
    ...logprobs.map((logprob) => ({ count: 1, each: logprob >= least ? weight(logprob) : 0 })),
    ...(k === Infinity ? rest : []).map(({ count, logprob }) => ({ count, each: weight(logprob) })),
  ];
  const whole = groups.reduce((sum, { count, each }) => sum + count * each, 0);
  let before = 0, kept = 0, left = 0;
  const shares = groups.map(({ count, each }, place) => {
    const one = each / whole;
    const taken = place === 0 ? 1 : within(before, one, count, p);
    before += one * count;
    kept += one * taken;
    left += taken;
    return one * taken;
  });
  const scaled = shares.map((share) => share / kept);
  const others = scaled.slice(logprobs.length).reduce((sum, share) => sum + share, 0);
  return { shares: scaled.slice(0, logprobs.length), others, left };
}

// How many of `count` tokens of share `one` each belong to the fewest that reach p, `before` being reached already.
function within(before, one, count, p) {
  if (one === 0) return 0;
  if (p >= 1) return count;
  return Math.max(0, Math.min(count, Math.ceil((p - ROUNDING - before) / one)));
}
