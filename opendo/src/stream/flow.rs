//! How much of one stream may be under way: a window that follows what the path and the reader really take.
//!
//! The window aims at the bandwidth-delay product, times a growth factor, since the measured bandwidth may be low
//! only because the window was. It doubles each round until that brings nothing more, then probes gently. The
//! design is Cap'n Web's.

use std::time::Duration;

use tokio::time::Instant;

/// The window of a new stream, in bytes.
const INITIAL_WINDOW: u64 = 256 * 1024;
/// The window shrinks no further, unless the receiver buffers less.
const MIN_WINDOW: u64 = 64 * 1024;
/// The window grows no further, whatever the receiver offers.
const MAX_WINDOW: u64 = 1024 * 1024 * 1024;
/// The most by which the window grows in one round trip, at first.
const STARTUP_GROWTH: f64 = 2.0;
/// The same after startup.
const STEADY_GROWTH: f64 = 1.25;
/// The most by which the window shrinks in one round trip.
const DECAY: f64 = 0.90;
/// So many rounds in a row without growth end startup.
const EXIT_ROUNDS: u32 = 3;

/// How much had been delivered at the time of an ack.
#[derive(Clone, Copy, Debug)]
struct Mark {
    at: Instant,
    delivered: u64,
}

/// One write under way, and how things stood when it was sent. It is spent by [`FlowController::ack`] or
/// [`FlowController::fail`]: neither `Clone` nor `Copy`, so its bytes are freed once only.
#[derive(Debug)]
#[must_use = "its bytes stay in flight until it is given to `ack` or `fail`"]
pub(crate) struct Token {
    sent: Instant,
    size: u64,
    /// The last ack before it was sent.
    last_ack: Option<Mark>,
    window: u64,
    /// Whether it filled the window: only such writes show that the path takes no more.
    full: bool,
}

/// Decides when a stream's writer waits. Pure: it is told the time, and does nothing by itself.
#[derive(Debug)]
pub(crate) struct FlowController {
    min: u64,
    max: u64,
    window: u64,
    in_flight: u64,
    first_ack: Option<Mark>,
    last_ack: Option<Mark>,
    /// The shortest round trip so far, which is the one without queues.
    min_rtt: Option<Duration>,
    startup: bool,
    /// The current round ends with the first ack of a write sent after this.
    round_start: Option<Instant>,
    last_round_window: u64,
    flat_rounds: u32,
}

impl FlowController {
    /// A new stream's controller. `max` is the most the receiver buffers for one stream: the window never grows
    /// beyond it, nor does it start above it. It counts as at least 1, or nothing could ever be sent.
    pub(crate) fn new(max: u64) -> Self {
        let max = max.clamp(1, MAX_WINDOW);
        Self {
            min: MIN_WINDOW.min(max),
            max,
            window: INITIAL_WINDOW.min(max),
            in_flight: 0,
            first_ack: None,
            last_ack: None,
            min_rtt: None,
            startup: true,
            round_start: None,
            last_round_window: 0,
            flat_rounds: 0,
        }
    }

    /// Whether the writer has to wait for an ack. The write that fills the window may exceed it.
    pub(crate) fn is_full(&self) -> bool {
        self.in_flight >= self.window
    }

    /// Bytes that may be in flight.
    #[cfg(test)]
    pub(crate) fn window(&self) -> u64 {
        self.window
    }

    /// Bytes sent and neither acked nor failed.
    #[cfg(test)]
    pub(crate) fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// Counts a write of `size` bytes as sent.
    pub(crate) fn send(&mut self, size: u64, now: Instant) -> Token {
        self.in_flight += size;
        Token { sent: now, size, last_ack: self.last_ack, window: self.window, full: self.is_full() }
    }

    /// Frees the bytes of a write that failed. It says nothing about the path, so the window stays.
    pub(crate) fn fail(&mut self, Token { size, .. }: Token) {
        self.in_flight -= size;
    }

    /// Frees the bytes of a write that was delivered, and adapts the window to how fast that went.
    pub(crate) fn ack(&mut self, Token { sent, size, last_ack, window, full }: Token, now: Instant) {
        self.in_flight -= size;
        let delivered = self.last_ack.map_or(0, |mark| mark.delivered) + size;
        let mark = Mark { at: now, delivered };
        self.last_ack = Some(mark);

        // Zero is a clock that did not move, not a round trip: kept as the shortest, it would hold the window at
        // its minimum for good.
        let rtt = now.saturating_duration_since(sent);
        if !rtt.is_zero() {
            self.min_rtt = Some(self.min_rtt.map_or(rtt, |least| least.min(rtt)));
        }

        // Bandwidth is measured between two acks, so the first one only starts the clock.
        let Some(first_ack) = self.first_ack else {
            self.first_ack = Some(mark);
            return;
        };
        let base = last_ack.unwrap_or(first_ack);
        let interval = now.saturating_duration_since(base.at);
        let Some(min_rtt) = self.min_rtt.filter(|_| !interval.is_zero()) else {
            return;
        };

        let growth = if self.startup { STARTUP_GROWTH } else { STEADY_GROWTH };
        let product = (delivered - base.delivered) as f64 * min_rtt.div_duration_f64(interval);
        // Relative to the window at the time of sending: so it is once per round trip, however many acks it has.
        let target = (product * growth).min(window as f64 * growth);
        let target = if full {
            target.max(window as f64 * DECAY)
        } else {
            // The writer was slower than the path. The floor is today's window, not the one at the time of
            // sending: that would undo what full writes have taken off since.
            target.max(self.window as f64)
        };
        self.window = (target as u64).clamp(self.min, self.max);

        if self.startup && self.round_start.is_none_or(|start| sent >= start) {
            self.end_round(now);
        }
    }

    /// Leaves startup when several rounds in a row brought no more bandwidth.
    fn end_round(&mut self, now: Instant) {
        if self.window as f64 > self.last_round_window as f64 * STEADY_GROWTH {
            self.flat_rounds = 0;
        } else {
            self.flat_rounds += 1;
            self.startup = self.flat_rounds < EXIT_ROUNDS;
        }
        self.round_start = Some(now);
        self.last_round_window = self.window;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    const KIB: u64 = 1024;
    const MIB: u64 = 1024 * KIB;
    const RTT: Duration = Duration::from_millis(10);

    /// A controller and its clock, driven by one write at a time.
    struct Rounds {
        flow: FlowController,
        now: Instant,
    }

    impl Rounds {
        fn new(max: u64) -> Self {
            Self { flow: FlowController::new(max), now: Instant::now() }
        }

        /// One write of `size` whose ack takes `took`. Returns the window after it.
        fn write(&mut self, size: u64, took: Duration) -> u64 {
            let token = self.flow.send(size, self.now);
            self.now += took;
            self.flow.ack(token, self.now);
            self.flow.window()
        }

        /// One write that fills the window, over a path that takes `product` bytes in each [`RTT`].
        fn fill(&mut self, product: u64) -> u64 {
            let size = self.flow.window();
            self.write(size, RTT.max(RTT.mul_f64(size as f64 / product as f64)))
        }

        /// A controller that has left startup on a path of 1 MiB per round trip, with a window of 1.25 MiB.
        fn steady() -> Self {
            let mut rounds = Self::new(u64::MAX);
            for _ in 0..20 {
                rounds.fill(MIB);
            }
            assert!(!rounds.flow.startup);
            assert_eq!(rounds.flow.window(), MIB * 5 / 4);
            rounds
        }
    }

    /// A writer that never rests, over a link that carries `bandwidth` bytes per second.
    struct Link {
        flow: FlowController,
        now: Instant,
        bandwidth: f64,
        rtt: Duration,
        busy_until: Instant,
        idle: Duration,
        pending: VecDeque<(Token, Instant)>,
    }

    impl Link {
        fn new(bandwidth: f64, rtt: Duration) -> Self {
            let (flow, now) = (FlowController::new(u64::MAX), Instant::now());
            Self {
                flow,
                now,
                bandwidth,
                rtt,
                busy_until: now,
                idle: Duration::ZERO,
                pending: VecDeque::new(),
            }
        }

        fn product(&self) -> f64 {
            self.bandwidth * self.rtt.as_secs_f64()
        }

        /// The part of the next `time` in which the link carries something.
        fn saturate(&mut self, time: Duration) -> f64 {
            let (from, idle) = (self.now, self.idle);
            for size in [32 * KIB, 4 * KIB, 16_000, 12_345, 16, 9_999, 4_321, 8].into_iter().cycle() {
                while self.flow.is_full() {
                    let (token, at) = self.pending.pop_front().unwrap();
                    self.now = at;
                    self.flow.ack(token, at);
                }
                if self.now - from >= time {
                    break;
                }
                self.idle += self.now.saturating_duration_since(self.busy_until);
                let duration = Duration::from_secs_f64(size as f64 / self.bandwidth);
                self.busy_until = self.busy_until.max(self.now) + duration;
                self.pending.push_back((self.flow.send(size, self.now), self.busy_until + self.rtt));
            }
            1.0 - (self.idle - idle).div_duration_f64(self.now - from)
        }
    }

    #[test]
    fn the_window_starts_at_its_initial_size_or_at_what_the_receiver_takes() {
        assert_eq!(FlowController::new(u64::MAX).window(), 256 * KIB);
        assert_eq!(FlowController::new(256 * KIB).window(), 256 * KIB);
        assert_eq!(FlowController::new(100_000).window(), 100_000);
        assert_eq!(FlowController::new(10).window(), 10);
        let nothing = FlowController::new(0);
        assert!(!nothing.is_full(), "one write may go, or the stream would hang");
    }

    #[test]
    fn the_writer_waits_when_full_and_an_ack_lets_it_go_on() {
        let (mut flow, now) = (FlowController::new(u64::MAX), Instant::now());
        let mut tokens = VecDeque::new();
        while !flow.is_full() {
            tokens.push_back(flow.send(100 * KIB, now));
        }
        assert_eq!(tokens.len(), 3, "the last write may exceed the window");
        assert_eq!(flow.in_flight(), 300 * KIB);
        flow.ack(tokens.pop_front().unwrap(), now + RTT);
        assert_eq!(flow.in_flight(), 200 * KIB);
        assert!(!flow.is_full());
    }

    #[test]
    fn many_small_writes_go_on_until_the_window_is_reached_exactly() {
        let (mut flow, now) = (FlowController::new(u64::MAX), Instant::now());
        let tokens: Vec<_> = std::iter::from_fn(|| (!flow.is_full()).then(|| flow.send(KIB, now))).collect();
        assert_eq!(tokens.len(), 256);
        assert_eq!(tokens.iter().filter(|token| token.full).count(), 1);
    }

    #[test]
    fn the_first_ack_changes_nothing() {
        let mut rounds = Rounds::new(u64::MAX);
        assert_eq!(rounds.write(256 * KIB, RTT), 256 * KIB);
        let mut slow = Rounds::new(u64::MAX);
        assert_eq!(slow.write(256 * KIB, 100 * RTT), 256 * KIB);
    }

    #[test]
    fn writes_sent_before_the_first_ack_are_measured_from_it() {
        let (mut flow, now) = (FlowController::new(u64::MAX), Instant::now());
        let (first, second) = (flow.send(128 * KIB, now), flow.send(128 * KIB, now));
        flow.ack(first, now + RTT);
        // 128 KiB in half a round trip. Measured from the time of sending, it would be 256 KiB in one and a half.
        flow.ack(second, now + RTT * 3 / 2);
        assert_eq!(flow.window(), 512 * KIB);
    }

    #[test]
    fn the_window_doubles_in_startup_while_bandwidth_grows() {
        let mut rounds = Rounds::new(u64::MAX);
        let windows: Vec<_> = (0..5).map(|_| rounds.fill(u64::MAX) / KIB).collect();
        assert_eq!(windows, [256, 512, 1024, 2048, 4096]);
        assert!(rounds.flow.startup);
    }

    #[test]
    fn a_round_trip_with_many_acks_doubles_once() {
        let (mut flow, now) = (FlowController::new(u64::MAX), Instant::now());
        let warm = flow.send(KIB, now);
        flow.ack(warm, now + RTT);
        let now = now + RTT;
        let tokens: Vec<_> = (0..16).map(|_| flow.send(16 * KIB, now)).collect();
        for (n, token) in (1..).zip(tokens) {
            flow.ack(token, now + RTT + n * Duration::from_micros(1));
        }
        assert!((500 * KIB..=512 * KIB).contains(&flow.window()), "{}", flow.window());
    }

    #[test]
    fn three_flat_rounds_end_startup_and_a_round_of_growth_starts_the_count_again() {
        let mut rounds = Rounds::new(u64::MAX);
        let windows: Vec<_> = (0..6).map(|_| rounds.fill(MIB) / KIB).collect();
        assert_eq!(windows, [256, 512, 1024, 2048, 2048, 2048]);
        assert_eq!((rounds.flow.flat_rounds, rounds.flow.startup), (2, true));
        assert_eq!(rounds.fill(u64::MAX), 4 * MIB);
        assert_eq!((rounds.flow.flat_rounds, rounds.flow.startup), (0, true));
        for _ in 0..2 {
            rounds.fill(2 * MIB);
            assert!(rounds.flow.startup);
        }
        rounds.fill(2 * MIB);
        assert!(!rounds.flow.startup);
    }

    #[test]
    fn the_steady_window_grows_by_a_quarter_each_round_at_most() {
        let mut rounds = Rounds::steady();
        for _ in 0..10 {
            let before = rounds.flow.window();
            assert_eq!(rounds.fill(u64::MAX), before * 5 / 4);
        }
        // It goes no further than the path: a quarter above what that takes.
        let mut rounds = Rounds::steady();
        for _ in 0..20 {
            rounds.fill(3 * MIB);
        }
        assert_eq!(rounds.flow.window(), 3 * MIB * 5 / 4);
    }

    #[test]
    fn the_window_decays_by_a_tenth_each_round_at_most_when_bandwidth_falls() {
        let mut rounds = Rounds::steady();
        for _ in 0..10 {
            let before = rounds.flow.window();
            assert_eq!(rounds.fill(10 * KIB), (before as f64 * 0.9) as u64);
        }
    }

    #[test]
    fn the_window_never_shrinks_when_it_is_not_filled() {
        for mut rounds in [Rounds::new(u64::MAX), Rounds::steady()] {
            let before = rounds.flow.window();
            for _ in 0..10 {
                assert_eq!(rounds.write(before / 2, 100 * RTT), before);
            }
        }
    }

    #[test]
    fn a_write_that_did_not_fill_the_window_does_not_undo_a_decay() {
        let Rounds { mut flow, now } = Rounds::steady();
        let before = flow.window();
        let (small, filling) = (flow.send(KIB, now), flow.send(before, now));
        flow.ack(filling, now + 100 * RTT);
        let decayed = flow.window();
        assert_eq!(decayed, (before as f64 * 0.9) as u64);
        flow.ack(small, now + 101 * RTT);
        assert_eq!(flow.window(), decayed);
    }

    #[test]
    fn the_window_stays_within_its_bounds() {
        // The bound below is the constant, or the receiver's limit if that is less.
        for (max, least) in [(u64::MAX, 64 * KIB), (100 * KIB, 64 * KIB), (10 * KIB, 10 * KIB)] {
            let mut rounds = Rounds::new(max);
            rounds.fill(u64::MAX);
            for _ in 0..40 {
                rounds.fill(KIB);
            }
            assert_eq!(rounds.flow.window(), least);
        }
        for (max, most) in [(u64::MAX, 1024 * MIB), (300_000, 300_000), (10 * KIB, 10 * KIB)] {
            let mut rounds = Rounds::new(max);
            for _ in 0..30 {
                rounds.fill(u64::MAX);
            }
            assert_eq!(rounds.flow.window(), most);
        }
    }

    #[test]
    fn a_failed_write_frees_its_bytes_and_does_not_count_as_delivered() {
        let (mut flow, now) = (FlowController::new(u64::MAX), Instant::now());
        let failed = flow.send(300 * KIB, now);
        assert!(flow.is_full());
        flow.fail(failed);
        assert_eq!((flow.in_flight(), flow.window()), (0, 256 * KIB));
        assert!(!flow.is_full());
        assert!(flow.last_ack.is_none() && flow.min_rtt.is_none());

        // Nor is it part of a later measurement.
        let mut rounds = Rounds::steady();
        let (window, delivered) = (rounds.flow.window(), rounds.flow.last_ack.unwrap().delivered);
        let failed = rounds.flow.send(100 * MIB, rounds.now);
        rounds.flow.fail(failed);
        assert_eq!(rounds.fill(MIB), window);
        assert_eq!(rounds.flow.last_ack.unwrap().delivered, delivered + window);
    }

    #[test]
    fn acks_in_the_same_instant_leave_the_window_alone() {
        let (mut flow, now) = (FlowController::new(u64::MAX), Instant::now());
        let tokens: Vec<_> = (0..8).map(|_| flow.send(64 * KIB, now)).collect();
        for token in tokens {
            flow.ack(token, now + RTT);
            assert_eq!(flow.window(), 256 * KIB);
        }
        assert_eq!((flow.in_flight(), flow.flat_rounds), (0, 0));
    }

    #[test]
    fn a_clock_that_stands_still_does_not_spoil_the_window() {
        let mut rounds = Rounds::new(u64::MAX);
        for _ in 0..10 {
            let window = rounds.flow.window();
            assert_eq!(rounds.write(window, Duration::ZERO), window);
        }
        // A zero among real round trips is no measurement either.
        let mut windows = Vec::new();
        for _ in 0..4 {
            rounds.fill(u64::MAX);
            let window = rounds.flow.window();
            windows.push(rounds.write(window, Duration::ZERO) / KIB);
        }
        assert_eq!(windows, [512, 1024, 2048, 4096]);
    }

    #[test]
    fn a_link_is_kept_busy_by_a_window_near_its_bandwidth_delay_product() {
        let links = [(10e6, 100), (1e9, 1), (100e6, 20), (125e6, 200), (2e6, 50)];
        for (bandwidth, rtt) in links {
            let mut link = Link::new(bandwidth, Duration::from_millis(rtt));
            link.saturate(link.rtt * 30);
            assert!(!link.flow.startup, "{bandwidth} {rtt}");
            for _ in 0..10 {
                let busy = link.saturate(link.rtt * 5);
                let ratio = link.flow.window() as f64 / link.product();
                assert!((1.0..2.5).contains(&ratio), "{bandwidth} {rtt}: {ratio}");
                assert!(busy > 0.98, "{bandwidth} {rtt}: {busy}");
            }
        }
    }

    #[test]
    fn a_link_that_changes_is_followed() {
        let mut link = Link::new(10e6, Duration::from_millis(100));
        link.saturate(link.rtt * 30);
        for bandwidth in [2e6, 20e6] {
            link.bandwidth = bandwidth;
            link.saturate(link.rtt * 100);
            let ratio = link.flow.window() as f64 / link.product();
            assert!((1.0..2.5).contains(&ratio), "{bandwidth}: {ratio}");
            assert!(link.saturate(link.rtt * 5) > 0.98);
        }
    }

    #[test]
    fn any_schedule_keeps_the_count_and_the_bounds() {
        for seed in 0..64_u64 {
            let mut state = seed;
            let mut random = |below: u64| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) % below
            };
            let max = [u64::MAX, 2 * MIB, 100 * KIB, 5_000][random(4) as usize];
            let mut flow = FlowController::new(max);
            let (least, most) = (MIN_WINDOW.min(max), MAX_WINDOW.min(max));
            let mut now = Instant::now();
            let mut pending: Vec<Token> = Vec::new();
            for _ in 0..2_000 {
                let before = flow.window();
                match random(8) {
                    0..3 => pending.push(flow.send(random(100_000), now)),
                    // Acks in any order, often several in one instant.
                    3..6 if !pending.is_empty() => {
                        let token = pending.swap_remove(random(pending.len() as u64) as usize);
                        let (full, then) = (token.full, token.window as f64);
                        flow.ack(token, now);
                        let after = flow.window();
                        assert!(after <= before.max((then * STARTUP_GROWTH) as u64));
                        assert!(after >= before.min(if full { (then * DECAY) as u64 } else { before }));
                    }
                    6 if !pending.is_empty() => {
                        flow.fail(pending.swap_remove(random(pending.len() as u64) as usize));
                        assert_eq!(flow.window(), before);
                    }
                    _ => now += Duration::from_micros(random(10_000)),
                }
                assert_eq!(flow.in_flight(), pending.iter().map(|token| token.size).sum::<u64>());
                assert_eq!(flow.is_full(), flow.in_flight() >= flow.window());
                assert!((least..=most).contains(&flow.window()));
            }
        }
    }
}
