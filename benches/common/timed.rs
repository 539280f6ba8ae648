//! Nanoseconds, on a processor, of things that take few of them.

use std::hint::black_box;

use crate::processor::on_processor;
use crate::table::for_real;

/// Runs so many times and tells how many seconds that took.
pub(crate) type Timed = Box<dyn FnMut(u64) -> f64>;

pub(crate) fn timed<R>(mut once: impl FnMut() -> R + 'static) -> Timed {
    Box::new(move |times| {
        let start = on_processor();
        for _ in 0..times {
            black_box(once());
        }
        on_processor() - start
    })
}

/// Nanoseconds of each, from repetitions in turn.
pub(crate) fn measure(forms: &mut [Timed; 3]) -> [Vec<f64>; 3] {
    let (rounds, enough) = if for_real() { (15, 4e-3) } else { (1, 0.0) };
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
            samples.push(form(times) * 1e9 / times as f64);
        }
    }
    samples
}
