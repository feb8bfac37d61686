//! A pause after work, as long as the work asks for.

use std::time::Duration;

use tokio::time::{self, Instant};

/// How long a loop rests after a round, so that under load more gathers for the next: a round often
/// costs the same for one item and for thousands.
#[derive(Clone, Copy, Debug)]
pub struct Linger {
    /// So many times as long as the round took.
    pub times: u32,
    pub max: Duration,
}

impl Linger {
    /// After a round that began at `began`.
    pub async fn after(self, began: Instant) {
        time::sleep((began.elapsed() * self.times).min(self.max)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_rest_is_a_multiple_of_the_work_and_never_longer_than_the_bound() {
        let rest = Linger {
            times: 2,
            max: Duration::from_millis(20),
        };
        for (work, expected) in [(0, 0), (4, 8), (10, 20), (500, 20)] {
            let began = Instant::now();
            time::advance(Duration::from_millis(work)).await;
            let resting = Instant::now();
            rest.after(began).await;
            assert_eq!(resting.elapsed(), Duration::from_millis(expected));
        }
    }
}
