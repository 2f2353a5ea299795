//! Which key is asked for next: evenly, or as Zipf's law has it.
//!
//! By rejection-inversion (Hörmann, Derflinger, "Rejection-inversion to
//! generate variates from monotone discrete distributions", 1996): no table, so
//! any number of keys.

/// The exponent of real request streams, and of YCSB.
const EXPONENT: f64 = 0.99;

/// Numbers from 0 up, the smaller the more frequent.
#[derive(Clone, Debug)]
pub(crate) struct Zipf {
    count: f64,
    first: f64,
    last: f64,
    shortcut: f64,
}

impl Zipf {
    pub(crate) fn new(count: u64) -> Self {
        let count = count as f64;
        Self {
            count,
            first: area(1.5) - 1.0,
            last: area(count + 0.5),
            shortcut: 2.0 - inverse(area(2.5) - height(2.0)),
        }
    }

    pub(crate) fn next(&self, random: &mut Random) -> u64 {
        loop {
            let under = self.last + random.fraction() * (self.first - self.last);
            let x = inverse(under);
            let rank = x.round().clamp(1.0, self.count);
            if rank - x <= self.shortcut || under >= area(rank + 0.5) - height(rank) {
                return rank as u64 - 1;
            }
        }
    }
}

fn height(x: f64) -> f64 {
    x.powf(-EXPONENT)
}

fn area(x: f64) -> f64 {
    (x.powf(1.0 - EXPONENT) - 1.0) / (1.0 - EXPONENT)
}

fn inverse(area: f64) -> f64 {
    (1.0 + area * (1.0 - EXPONENT)).powf(1.0 / (1.0 - EXPONENT))
}

/// Marsaglia's xorshift64*: fast, and good enough to choose keys.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// From 0 up to 1.
    pub(crate) fn fraction(&mut self) -> f64 {
        (self.number() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_come_as_often_as_the_law_says() {
        const DRAWS: u32 = 200_000;
        let (zipf, mut random) = (Zipf::new(100), Random::new(7));
        let mut counts = [0_u32; 100];
        for _ in 0..DRAWS {
            counts[zipf.next(&mut random) as usize] += 1;
        }
        let all: f64 = (1..=100).map(|rank| height(f64::from(rank))).sum();
        for rank in [1, 2, 10, 100] {
            let expected = f64::from(DRAWS) * height(f64::from(rank)) / all;
            let found = f64::from(counts[rank as usize - 1]);
            let off = (found - expected).abs();
            assert!(
                off < 5.0 * expected.sqrt(),
                "rank {rank}: {found}, not {expected}"
            );
        }
        assert_eq!(Zipf::new(1).next(&mut random), 0);
    }
}
