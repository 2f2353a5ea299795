//! How far the requests of a link may run ahead of the peer that handles them.
//!
//! Every so often a message carries a ping; its pong confirms that the peer has
//! handled all that was sent up to it. What is sent and not confirmed is
//! limited, because the next heartbeat waits behind it: the limit falls while
//! pongs take long (large replies, a slow network) and rises while they are
//! quick. What exceeds it waits on this side, where a heartbeat overtakes it.
//!
//! Invariant: between two messages without a limit in reach nothing is counted
//! but operations. Pure apart from the clock; called by the outbox of requests.

use std::collections::VecDeque;

use crate::clock::Clock;

/// Operations that may always be sent ahead, and the most that ever may.
const LEAST: u64 = 256;
const MOST: u64 = 8192;
const AT_FIRST: u64 = 1024;
/// A pong that takes longer halves the limit, one that is quicker doubles it.
const SLOW_MS: u64 = 100;
const QUICK_MS: u64 = 25;

pub(crate) struct Ahead {
    clock: Clock,
    limit: u64,
    /// Operations sent, and those of them that the peer has handled for certain.
    sent: u64,
    confirmed: u64,
    /// Sent pings without a pong, in order.
    marks: VecDeque<Mark>,
    /// What had been sent at the last ping.
    marked: u64,
}

struct Mark {
    ping: u64,
    sent: u64,
    /// The limit was in reach.
    full: bool,
}

impl Ahead {
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            clock,
            limit: AT_FIRST,
            sent: 0,
            confirmed: 0,
            marks: VecDeque::new(),
            marked: 0,
        }
    }

    /// Whether the next message of operations may be sent; it may when no pong
    /// is on its way that could say so later.
    pub(crate) fn is_open(&self) -> bool {
        self.sent - self.confirmed < self.limit || self.marks.is_empty()
    }

    /// A message leaves; `ping` is its own, or set if one is due.
    pub(crate) fn send(&mut self, ops: usize, ping: &mut u64) {
        self.sent += ops as u64;
        if *ping == 0 && self.sent - self.marked >= self.limit / 4 {
            // Never 0, which is no ping.
            *ping = self.clock.now_ms().max(1);
        }
        if *ping > 0 {
            self.marked = self.sent;
            self.marks.push_back(Mark {
                ping: *ping,
                sent: self.sent,
                full: self.sent - self.confirmed >= self.limit / 2,
            });
        }
    }

    /// The peer has answered this ping, and with it every earlier one.
    pub(crate) fn confirm(&mut self, pong: u64) {
        let known = self.marks.partition_point(|mark| mark.ping <= pong);
        let Some(last) = self.marks.drain(..known).next_back() else {
            return;
        };
        self.confirmed = last.sent;
        let took = self.clock.now_ms().saturating_sub(last.ping);
        if took > SLOW_MS {
            self.limit = (self.limit / 2).max(LEAST);
        } else if took < QUICK_MS && last.full {
            self.limit = (self.limit * 2).min(MOST);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Sends messages of 64 operations until the limit is reached: how many
    /// operations, and the pings that went with them.
    fn fill(ahead: &mut Ahead) -> (u64, Vec<u64>) {
        let (mut ops, mut pings) = (0, Vec::new());
        while ahead.is_open() {
            let mut ping = 0;
            ahead.send(64, &mut ping);
            ops += 64;
            pings.extend(Some(ping).filter(|ping| *ping > 0));
        }
        (ops, pings)
    }

    #[test]
    fn what_is_not_confirmed_is_limited_and_a_pong_goes_on() {
        let (clock, time) = Clock::manual();
        time.advance(Duration::from_millis(10));
        let mut ahead = Ahead::new(clock);
        let (ops, pings) = fill(&mut ahead);
        assert_eq!((ops, pings.len()), (AT_FIRST, 4), "a ping each quarter");
        ahead.confirm(9);
        assert!(!ahead.is_open(), "not a ping of ours");
        ahead.confirm(pings[3]);
        assert!(ahead.is_open());
    }

    #[test]
    fn the_limit_falls_while_pongs_take_long_and_rises_while_they_are_quick() {
        let (clock, time) = Clock::manual();
        time.advance(Duration::from_millis(10));
        let mut ahead = Ahead::new(clock);
        let mut limits = Vec::new();
        for pause_ms in [500, 500, 500, 50, 1, 1, 1, 1, 1, 1] {
            let (ops, pings) = fill(&mut ahead);
            limits.push(ops);
            time.advance(Duration::from_millis(pause_ms));
            ahead.confirm(*pings.last().expect("a ping"));
        }
        assert_eq!(
            limits,
            [1024, 512, 256, 256, 256, 512, 1024, 2048, 4096, 8192]
        );
        assert_eq!(fill(&mut ahead).0, MOST);
    }

    #[test]
    fn what_was_sent_after_the_last_ping_never_holds_up_the_rest() {
        let (clock, time) = Clock::manual();
        let mut ahead = Ahead::new(clock);
        ahead.limit = MOST;
        let mut pings = Vec::new();
        // Four pings, and a tail that carries none.
        for _ in 0..MOST / 64 + 31 {
            time.advance(Duration::from_millis(1));
            let mut ping = 0;
            ahead.send(64, &mut ping);
            pings.extend(Some(ping).filter(|ping| *ping > 0));
        }
        time.advance(Duration::from_millis(500));
        pings.into_iter().for_each(|ping| ahead.confirm(ping));
        assert!(ahead.sent - ahead.confirmed > ahead.limit && ahead.is_open());
    }

    #[test]
    fn heartbeats_alone_prove_nothing_about_the_limit() {
        let (clock, time) = Clock::manual();
        let mut ahead = Ahead::new(clock.clone());
        for _ in 0..20 {
            time.advance(Duration::from_millis(500));
            let mut ping = clock.now_ms();
            ahead.send(0, &mut ping);
            ahead.confirm(ping);
        }
        assert_eq!(fill(&mut ahead).0, AT_FIRST);
    }
}
