//! Nanoseconds of things that take few of them.

use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::table::for_real;

/// Runs so many times and tells how long that took.
pub(crate) type Timed = Box<dyn FnMut(u64) -> Duration>;

pub(crate) fn timed<R>(mut once: impl FnMut() -> R + 'static) -> Timed {
    Box::new(move |times| {
        let start = Instant::now();
        for _ in 0..times {
            black_box(once());
        }
        start.elapsed()
    })
}

/// Nanoseconds of each, from repetitions in turn.
pub(crate) fn measure(forms: &mut [Timed; 3]) -> [Vec<f64>; 3] {
    let (rounds, enough) =
        if for_real() { (15, Duration::from_millis(4)) } else { (1, Duration::from_nanos(1)) };
    let times = forms.each_mut().map(|form| {
        let mut times = 1;
        while form(times) < enough {
            times *= 2;
        }
        times
    });
    let mut samples = [const { Vec::new() }; 3];
    for _ in 0..rounds {
        for ((form, times), samples) in forms.iter_mut().zip(times).zip(&mut samples) {
            samples.push(form(times).as_nanos() as f64 / times as f64);
        }
    }
    samples
}
