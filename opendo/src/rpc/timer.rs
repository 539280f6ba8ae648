//! A timer of a task that is polled often for other reasons.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures::FutureExt;
use tokio::time::{Instant, Sleep, sleep_until};

/// Is asked for the time only when it rings: until then, a poll is a look at a flag.
pub(crate) struct Timer {
    sleep: Pin<Box<Sleep>>,
    bell: Option<Arc<Bell>>,
}

/// Wakes a task, and notes by whom it was woken.
struct Bell {
    rang: AtomicBool,
    task: Waker,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rang.store(true, Ordering::Release);
        self.task.wake_by_ref();
    }
}

impl Timer {
    pub(crate) fn until(at: Instant) -> Self {
        Self { sleep: Box::pin(sleep_until(at)), bell: None }
    }

    pub(crate) fn reset(&mut self, at: Instant) {
        self.sleep.as_mut().reset(at);
        self.bell = None; // the next poll sets it
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(bell) = &self.bell
            && bell.task.will_wake(cx.waker())
            && !bell.rang.load(Ordering::Acquire)
        {
            return Poll::Pending;
        }
        let bell = Arc::new(Bell { rang: AtomicBool::new(false), task: cx.waker().clone() });
        let polled = self.sleep.poll_unpin(&mut Context::from_waker(&Waker::from(bell.clone())));
        self.bell = polled.is_pending().then_some(bell);
        polled
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_test::task::new_count_waker;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_rings_for_the_task_that_polled_last_and_again_when_it_is_set_anew() {
        let ((first, first_woken), (second, second_woken)) = (new_count_waker(), new_count_waker());
        let poll = |timer: &mut Timer, task: &Waker| timer.poll(&mut Context::from_waker(task)).is_ready();
        let mut timer = Timer::until(Instant::now() + Duration::from_secs(1));
        assert!(!poll(&mut timer, &first));
        assert!(!poll(&mut timer, &first));
        assert!(!poll(&mut timer, &second));
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!((first_woken.get(), second_woken.get()), (0, 1));
        assert!(poll(&mut timer, &second));
        timer.reset(Instant::now() + Duration::from_secs(1));
        assert!(!poll(&mut timer, &first));
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(poll(&mut timer, &first));
    }
}
