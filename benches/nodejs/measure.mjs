// How a ratio is measured, as benches/src/harness.rs does it: blocks in the order A B B A, the median of the ratios of
// neighbours, a bootstrap interval.
//
// Invariant: only rows leave this folder, in the form of benches/src/report.rs.

/** Pairs of blocks in one comparison. */
const PAIRS = 30
const RESAMPLES = 2000

/** A row: ours over the peer's. A block of work (it may be async) says what one operation cost, or how many came a second. */
export async function row(metric, peerName, ours, peer, { bar, pairs = PAIRS } = {}) {
  const measured = await compare(ours, peer, pairs)
  const ratios = measured.map(([mine, theirs]) => mine / theirs)
  const [low, high] = bootstrap(ratios)
  return {
    id: 'P6',
    metric,
    ours: median(measured.map(([mine]) => mine)),
    peer: median(measured.map(([, theirs]) => theirs)),
    peer_name: peerName,
    ratio: median(ratios),
    ci_low: low,
    ci_high: high,
    n: ratios.length,
    ...(bar && { bar }),
  }
}

async function compare(ours, peer, pairs) {
  await ours()
  await peer()
  const measured = []
  while (measured.length < pairs) {
    measured.push([await ours(), await peer()])
    const theirs = await peer()
    measured.push([await ours(), theirs])
  }
  return measured
}

function median(values) {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]
}

/** 95 % of the medians of resamples lie in this interval. */
function bootstrap(values) {
  const next = random(values.length)
  const medians = Array.from({ length: RESAMPLES }, () => median(values.map(() => values[Math.floor(next() * values.length)])))
  medians.sort((a, b) => a - b)
  return [medians[RESAMPLES / 40], medians[RESAMPLES - RESAMPLES / 40 - 1]]
}

/** A generator of numbers in 0..1 with a fixed seed: every run measures the same requests. */
export function random(seed) {
  let state = (Math.imul(seed, 0x9e3779b9) | 1) >>> 0
  return () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) / 2 ** 32
  }
}

/** So many keys of 20 bytes, flat in memory as keys out of a request are. */
export const keysOf = (count) => JSON.parse(JSON.stringify(Array.from({ length: count }, (_, number) => `user:${String(number).padStart(15, '0')}`)))

/** Requests for keys by Zipf's law; the popular ones lie anywhere. */
export function zipf(keys, count, theta = 0.99) {
  const next = random(7)
  const places = keys.map((key) => [next(), key]).sort(([a], [b]) => a - b)
  let sum = 0
  const until = places.map((_, rank) => (sum += (rank + 1) ** -theta))
  return Array.from({ length: count }, () => places[firstAbove(until, next() * sum)][1])
}

function firstAbove(sorted, wanted) {
  let [low, high] = [0, sorted.length - 1]
  while (low < high) {
    const middle = (low + high) >> 1
    if (sorted[middle] < wanted) low = middle + 1
    else high = middle
  }
  return low
}
